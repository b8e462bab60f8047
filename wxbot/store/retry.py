"""Retries for short outages of the store. Without them a sent reply would stay unrecorded and be sent again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from wxbot.clock import Clock, pause
from wxbot.errors import StoreUnavailable

log = logging.getLogger("wxbot.store")

Result = TypeVar("Result")
PAUSES = (0.2, *(0.5 for _ in range(15)))
"""Pauses in seconds. All are short: the record must be stored before other processes poll for expired leases."""


async def retry_until_stored(clock: Clock, operation: Callable[[], Awaitable[Result]]) -> Result:
    """Run ``operation``, retrying on StoreUnavailable for about 8 seconds. Re-raise the last error."""
    for wait in PAUSES:
        try:
            return await operation()
        except StoreUnavailable as error:
            log.warning("store unavailable, retrying: seconds=%g error=%s", wait, error)
            await pause(clock, wait)
    return await operation()
