"""Contract tests of wakers: a wake-up from any thread soon reaches the event loop, in the loop's thread."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from tests.servers.fixtures import cluster_server, rabbit_server, redis_server, valkey_server
from tests.store.support import ALICE, APPID, NOW
from wxbot.server.assembly import make_broker
from wxbot.store.records import Claim, ConversationKey
from wxbot.wakeups.dramatiq.waker import DramatiqWaker, WakeupReader, queue_name
from wxbot.wakeups.inprocess import InProcessWaker, Wake
from wxbot.wakeups.port import Waker

__all__ = ["cluster_server", "rabbit_server", "redis_server", "valkey_server"]

THREADS = 8


@dataclass(frozen=True)
class Kind:
    """One kind of waker. ``make`` connects it to ``wake`` on the event loop."""

    make: Callable[[asyncio.AbstractEventLoop, Wake], AbstractContextManager[Waker]]
    wakeups: int
    """How many wake-ups a thread may send in one go without a drop during a test."""
    ordered: bool
    """True if the wake-ups of one thread arrive in order."""


@contextmanager
def in_process(loop: asyncio.AbstractEventLoop, wake: Wake) -> Iterator[Waker]:
    yield InProcessWaker(loop, wake)


@contextmanager
def through(url: str, loop: asyncio.AbstractEventLoop, wake: Wake) -> Iterator[Waker]:
    """Run waker and reader in this process."""

    def adopt(key: ConversationKey, interacted_at: float) -> None:
        done: Future[None] = Future()

        def deliver() -> None:
            try:
                wake(key, interacted_at, None)
                done.set_result(None)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                done.set_exception(error)

        loop.call_soon_threadsafe(deliver)
        done.result(10)

    flush_wakeups(url)
    reader, waker = WakeupReader(make_broker(url), APPID, adopt), DramatiqWaker(make_broker(url), APPID)
    reader.start()
    try:
        waker.open()
        yield waker
    finally:
        waker.close()
        reader.stop()


def flush_wakeups(url: str) -> None:
    """Delete the wake-ups that an earlier test requeued."""
    broker = make_broker(url)
    broker.flush(queue_name(APPID))
    broker.disconnect()
    broker.close()


@pytest.fixture(params=["in process", "redis", "valkey", "cluster", "rabbit"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "in process":
        return Kind(in_process, wakeups=3000, ordered=True)
    url: str = request.getfixturevalue(f"{request.param}_server").url
    return Kind(lambda loop, wake: through(url, loop, wake), wakeups=60, ordered=False)


@pytest.fixture
def fast_thread_switches() -> Iterator[None]:
    """Switch threads as often as possible, so that a test finds race conditions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Listener:
    """Records the wake-ups that reach the event loop."""

    def __init__(self) -> None:
        self.received: list[tuple[ConversationKey, float]] = []
        self.threads: set[int] = set()
        self._enough = asyncio.Event()
        self._wanted = 1

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None) -> None:
        self.received.append((key, interacted_at))
        self.threads.add(threading.get_ident())
        if len(self.received) >= self._wanted:
            self._enough.set()

    async def receives(self, n: int) -> None:
        self._wanted = n
        if len(self.received) < n:
            self._enough.clear()
            async with asyncio.timeout(10):
                await self._enough.wait()


def run_story(kind: Kind, wake: Wake, story: Callable[[Waker], Awaitable[None]]) -> None:
    """Run ``story`` with a waker that is connected to ``wake``."""

    async def run(waker: Waker) -> None:
        await story(waker)

    with asyncio.Runner() as runner, kind.make(runner.get_loop(), wake) as waker:
        runner.run(run(waker))


def test_a_wakeup_from_a_thread_arrives_in_the_loops_thread(kind: Kind) -> None:
    listener = Listener()

    async def story(waker: Waker) -> None:
        await asyncio.to_thread(waker.wake, ALICE, NOW)
        await listener.receives(1)
        assert listener.received == [(ALICE, NOW)]
        assert listener.threads == {threading.get_ident()}

    run_story(kind, listener.wake, story)


def test_a_wakeup_from_the_loop_itself_arrives(kind: Kind) -> None:
    listener = Listener()

    async def story(waker: Waker) -> None:
        waker.wake(ALICE, NOW)
        await listener.receives(1)

    run_story(kind, listener.wake, story)


@pytest.mark.usefixtures("fast_thread_switches")
def test_no_wakeup_is_lost(kind: Kind) -> None:
    """Many threads send while the loop delivers. In one process, those of one thread arrive in order."""
    listener = Listener()

    async def story(waker: Waker) -> None:
        def wakeup(thread: int) -> None:
            for n in range(kind.wakeups):
                waker.wake(ConversationKey(APPID, f"user {n} of thread {thread}"), float(n))

        with ThreadPoolExecutor(THREADS) as pool:
            running = [asyncio.get_running_loop().run_in_executor(pool, wakeup, thread) for thread in range(THREADS)]
            await asyncio.gather(*running)
            await listener.receives(THREADS * kind.wakeups)
        for thread in range(THREADS):
            received = [(key.openid, at) for key, at in listener.received if key.openid.endswith(f" {thread}")]
            expected = [(f"user {n} of thread {thread}", float(n)) for n in range(kind.wakeups)]
            assert (received if kind.ordered else sorted(received, key=lambda wakeup: wakeup[1])) == expected

    run_story(kind, listener.wake, story)


def test_a_failing_wakeup_does_not_stop_the_next(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    listener = Listener()

    def wake(key: ConversationKey, interacted_at: float, claim: Claim | None) -> None:
        listener.wake(key, interacted_at, claim)
        if interacted_at == 1.0:
            raise ValueError("a fault of the listener")

    async def story(waker: Waker) -> None:
        waker.wake(ALICE, 1.0)
        waker.wake(ALICE, 2.0)
        await listener.receives(1)
        waker.wake(ALICE, 3.0)
        await listener.receives(3)

    run_story(kind, wake, story)
    logged = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert logged == [ValueError]


def test_a_wakeup_to_a_closed_loop_is_no_error(kind: Kind) -> None:
    """The message is in the inbox, and the next owner finds it there."""
    loop = asyncio.new_event_loop()
    loop.close()
    with kind.make(loop, Listener().wake) as waker:
        for _ in range(3):
            waker.wake(ALICE, NOW)


def test_wakeups_are_held_while_pushes_queue_up() -> None:
    """Acknowledging has a deadline, processing has none."""

    async def story() -> None:
        listener, busy = Listener(), [True]
        waker = InProcessWaker(asyncio.get_running_loop(), listener.wake, lambda: bool(busy))
        for n in range(20):
            waker.wake(ALICE, float(n))
        for _ in range(20):
            await asyncio.sleep(0)
        assert listener.received == []
        busy.clear()
        await listener.receives(20)
        assert [at for _, at in listener.received] == [float(n) for n in range(20)]

    asyncio.run(story())


def test_wakeups_are_held_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wxbot.wakeups.inprocess.HOLD_SECONDS", 0.0)

    async def story() -> None:
        listener = Listener()
        waker = InProcessWaker(asyncio.get_running_loop(), listener.wake, lambda: True)
        for n in range(20):
            waker.wake(ALICE, float(n))
        await listener.receives(1)
        assert len(listener.received) < 20
        await listener.receives(20)

    asyncio.run(story())
