"""Keeps at it when the store is out for a moment: a sent reply that is not recorded would be sent again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from wxbot.clock import Clock, pause
from wxbot.errors import StoreUnavailable

log = logging.getLogger("wxbot.store")

Result = TypeVar("Result")
PAUSES = (0.2, *(0.5 for _ in range(15)))
"""Seconds. None is long: when the store is back, the record has to be there before others look for lost leases."""


async def retry_until_stored(clock: Clock, operation: Callable[[], Awaitable[Result]]) -> Result:
    """Run ``operation`` until the store takes it, some seconds at most. Raises what it raises in the end."""
    for wait in PAUSES:
        try:
            return await operation()
        except StoreUnavailable as error:
            log.warning("the store did not take a record, again in %g s: %s", wait, error)
            await pause(clock, wait)
    return await operation()
