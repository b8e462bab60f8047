"""What can go wrong at WeChat's end, to be ordered in advance, endpoint by endpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

Endpoint = Literal["typing", "send", "token", "upload", "download"]


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, ``times`` times (None: until ``clear``). ``acted``: the deed is done all the same."""

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
    """Orders for the calls to come. ``endpoint`` is "typing", "send", "token", "upload" or "download".

    "token" is both token calls, "download" the call for a media_id and the fetching of a file at its own address.
    Orders for one endpoint are used up one after the other, one per call. Safe to call from every thread.
    """

    def __init__(self, revoke: Callable[[], None]) -> None:
        self._revoke = revoke
        self._orders: dict[str, deque[Fault]] = {endpoint: deque() for endpoint in get_args(Endpoint)}

    def fail(self, endpoint: Endpoint, errcode: int = -1, times: int | None = 1) -> None:
        """Answer with ``errcode``; nothing else happens."""
        self._order(endpoint, Fault("fail", times, errcode=errcode))

    def http_error(self, endpoint: Endpoint, status: int = 500, times: int | None = 1, acted: bool = False) -> None:
        """Answer with an HTTP status and no JSON."""
        self._order(endpoint, Fault("http", times, status=status, acted=acted))

    def drop(self, endpoint: Endpoint, times: int | None = 1, acted: bool = False) -> None:
        """Close the connection without an answer."""
        self._order(endpoint, Fault("drop", times, acted=acted))

    def slow(self, endpoint: Endpoint, seconds: float, times: int | None = None) -> None:
        """Do the deed on arrival, but answer only when ``seconds`` have passed by the clock."""
        self._order(endpoint, Fault("slow", times, seconds=seconds, acted=True))

    def hang(self, endpoint: Endpoint, times: int | None = None, acted: bool = False) -> None:
        """Never answer: the connection stays open until FakeWeChat is closed or the caller gives up."""
        self._order(endpoint, Fault("hang", times, acted=acted))

    def revoke_token(self) -> None:
        """Every access token given so far is refused from now on (40001)."""
        self._revoke()

    def clear(self) -> None:
        """From now on all goes well. Calls that hang already go on hanging."""
        for orders in self._orders.values():
            orders.clear()

    def injected(self) -> list[tuple[str, Fault]]:
        """What is still to come, with its endpoint, in order."""
        return [(endpoint, replace(fault)) for endpoint, orders in self._orders.items() for fault in tuple(orders)]

    def take(self, endpoint: str) -> Fault | None:
        """The fault for the call that has just come in (used by the server, under the lock)."""
        orders = self._orders.get(endpoint)
        if not orders:
            return None
        fault = orders[0]
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                orders.popleft()
        return fault

    def _order(self, endpoint: Endpoint, fault: Fault) -> None:
        if endpoint not in self._orders:
            raise ValueError(f"no endpoint {endpoint!r}: it is one of {', '.join(self._orders)}")
        if fault.times is None or fault.times > 0:
            self._orders[endpoint].append(fault)
