"""A time limit by the bot's clock, so that tests can turn it by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from wxbot.ports import Clock


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel the body after ``seconds`` and raise TimeoutError. ``asyncio.timeout`` does the hard part.

    What it gives knows whether it has ``expired()``: a body may raise a TimeoutError of its own.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def expire() -> None:
            with suppress(RuntimeError):  # the body ended in the same moment
                limit.reschedule(loop.time())

        timer = clock.call_later(seconds, expire)
        try:
            yield limit
        finally:
            timer.cancel()


async def pause(clock: Clock, seconds: float) -> None:
    """Do nothing for ``seconds`` of the clock."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: None if over.done() else over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()
