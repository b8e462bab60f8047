"""Faults of the simulated platform, which a test injects into coming calls of one endpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

Endpoint = Literal["typing", "send", "token", "upload", "download"]


@dataclass(slots=True)
class Fault:
    """One injected fault.

    ``times``: the number of calls that it affects; None until ``clear``.
    ``acted``: the call takes effect in spite of the fault, which affects only the response.
    """

    kind: Literal["fail", "http", "drop", "slow", "hang"]
    times: int | None
    errcode: int = 0
    status: int = 200
    seconds: float = 0.0
    acted: bool = False

    def __str__(self) -> str:
        details = {"fail": f"errcode {self.errcode}", "http": f"http {self.status}", "slow": f"slow {self.seconds:g} s"}
        return details.get(self.kind, self.kind) + (" after processing" if self.acted and self.kind != "slow" else "")


class Faults:
    """Injects faults into coming calls. ``endpoint``: "typing", "send", "token", "upload" or "download".

    "token" is both token calls. "download" is the call for a media_id and the request for a file at its own address.
    The faults of one endpoint are used in order, one for each call. ``times``: the number of calls that a fault
    affects; None until ``clear``. With ``acted=True`` the call takes effect, and only its response is lost.
    All methods are thread-safe.
    """

    def __init__(self, revoke: Callable[[], None]) -> None:
        self._revoke = revoke
        self._injected: dict[str, deque[Fault]] = {endpoint: deque() for endpoint in get_args(Endpoint)}

    def fail(self, endpoint: Endpoint, errcode: int = -1, times: int | None = 1) -> None:
        """Answer with ``errcode``. The call has no effect."""
        self._inject(endpoint, Fault("fail", times, errcode=errcode))

    def http_error(self, endpoint: Endpoint, status: int = 500, times: int | None = 1, acted: bool = False) -> None:
        """Answer with an HTTP status and no JSON."""
        self._inject(endpoint, Fault("http", times, status=status, acted=acted))

    def drop(self, endpoint: Endpoint, times: int | None = 1, acted: bool = False) -> None:
        """Close the connection without a response."""
        self._inject(endpoint, Fault("drop", times, acted=acted))

    def slow(self, endpoint: Endpoint, seconds: float, times: int | None = None) -> None:
        """Process the call when it arrives, but answer after ``seconds`` by the clock."""
        self._inject(endpoint, Fault("slow", times, seconds=seconds, acted=True))

    def hang(self, endpoint: Endpoint, times: int | None = None, acted: bool = False) -> None:
        """Never answer. The connection stays open until FakeWeChat is closed or the caller closes it."""
        self._inject(endpoint, Fault("hang", times, acted=acted))

    def revoke_token(self) -> None:
        """Reject every access token that was issued so far (errcode 40001)."""
        self._revoke()

    def clear(self) -> None:
        """Remove all injected faults. Calls that hang already are not ended."""
        for faults in self._injected.values():
            faults.clear()

    def injected(self) -> list[tuple[str, Fault]]:
        """Return the faults that are still to be used, in order, each with its endpoint."""
        return [(endpoint, replace(fault)) for endpoint, faults in self._injected.items() for fault in tuple(faults)]

    def take(self, endpoint: str) -> Fault | None:
        """Return the fault for the call that has just arrived, or None. The server calls this with the lock held."""
        faults = self._injected.get(endpoint)
        if not faults:
            return None
        fault = faults[0]
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                faults.popleft()
        return fault

    def _inject(self, endpoint: Endpoint, fault: Fault) -> None:
        if endpoint not in self._injected:
            raise ValueError(f"unknown endpoint {endpoint!r}: use one of {', '.join(self._injected)}")
        if fault.times is None or fault.times > 0:
            self._injected[endpoint].append(fault)
