"""What every waker promises: a hint from any thread reaches the event loop, in its own thread, soon."""

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
    """One kind of waker, and the way from it to ``wake`` on the event loop while the context lasts."""

    make: Callable[[asyncio.AbstractEventLoop, Wake], AbstractContextManager[Waker]]
    hints: int
    """How many hints a thread may give at a stretch without any being dropped in the time of a test."""
    ordered: bool
    """Whether the hints of one thread arrive in their order."""


@contextmanager
def in_process(loop: asyncio.AbstractEventLoop, wake: Wake) -> Iterator[Waker]:
    yield InProcessWaker(loop, wake)


@contextmanager
def through(url: str, loop: asyncio.AbstractEventLoop, wake: Wake) -> Iterator[Waker]:
    """Both ends in this process."""

    def adopt(key: ConversationKey, interacted_at: float) -> None:
        done: Future[None] = Future()

        def deliver() -> None:
            try:
                wake(key, interacted_at, None)
                done.set_result(None)
            except Exception as error:  # noqa: BLE001 - to whoever waits
                done.set_exception(error)

        loop.call_soon_threadsafe(deliver)
        done.result(10)

    forget_hints(url)
    reader, waker = WakeupReader(make_broker(url), APPID, adopt), DramatiqWaker(make_broker(url), APPID)
    reader.start()
    try:
        waker.open()
        yield waker
    finally:
        waker.close()
        reader.stop()


def forget_hints(url: str) -> None:
    """Those that a test before has put back when it ended."""
    broker = make_broker(url)
    broker.flush(queue_name(APPID))
    broker.disconnect()
    broker.close()


@pytest.fixture(params=["in process", "redis", "valkey", "cluster", "rabbit"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "in process":
        return Kind(in_process, hints=3000, ordered=True)
    url: str = request.getfixturevalue(f"{request.param}_server").url
    return Kind(lambda loop, wake: through(url, loop, wake), hints=60, ordered=False)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that a race is lost within a test and not after a month."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Listener:
    """Notes the hints that reach the event loop."""

    def __init__(self) -> None:
        self.heard: list[tuple[ConversationKey, float]] = []
        self.threads: set[int] = set()
        self._enough = asyncio.Event()
        self._wanted = 1

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None) -> None:
        self.heard.append((key, interacted_at))
        self.threads.add(threading.get_ident())
        if len(self.heard) >= self._wanted:
            self._enough.set()

    async def hears(self, n: int) -> None:
        self._wanted = n
        if len(self.heard) < n:
            self._enough.clear()
            async with asyncio.timeout(10):
                await self._enough.wait()


def tell(kind: Kind, wake: Wake, story: Callable[[Waker], Awaitable[None]]) -> None:
    """Run ``story`` with a waker whose hints reach ``wake``."""

    async def run(waker: Waker) -> None:
        await story(waker)

    with asyncio.Runner() as runner, kind.make(runner.get_loop(), wake) as waker:
        runner.run(run(waker))


def test_a_hint_from_a_thread_arrives_in_the_loops_own_thread(kind: Kind) -> None:
    listener = Listener()

    async def story(waker: Waker) -> None:
        await asyncio.to_thread(waker.wake, ALICE, NOW)
        await listener.hears(1)
        assert listener.heard == [(ALICE, NOW)]
        assert listener.threads == {threading.get_ident()}

    tell(kind, listener.wake, story)


def test_a_hint_from_the_loop_itself_arrives(kind: Kind) -> None:
    listener = Listener()

    async def story(waker: Waker) -> None:
        waker.wake(ALICE, NOW)
        await listener.hears(1)

    tell(kind, listener.wake, story)


@pytest.mark.usefixtures("hasty_threads")
def test_no_hint_is_left_lying(kind: Kind) -> None:
    """Many threads, while the loop delivers; of one thread they arrive in order, unless they leave the process."""
    listener = Listener()

    async def story(waker: Waker) -> None:
        def hint(thread: int) -> None:
            for n in range(kind.hints):
                waker.wake(ConversationKey(APPID, f"user {n} of thread {thread}"), float(n))

        with ThreadPoolExecutor(THREADS) as pool:
            running = [asyncio.get_running_loop().run_in_executor(pool, hint, thread) for thread in range(THREADS)]
            await asyncio.gather(*running)
            await listener.hears(THREADS * kind.hints)
        for thread in range(THREADS):
            heard = [(key.openid, at) for key, at in listener.heard if key.openid.endswith(f" {thread}")]
            expected = [(f"user {n} of thread {thread}", float(n)) for n in range(kind.hints)]
            assert (heard if kind.ordered else sorted(heard, key=lambda hint: hint[1])) == expected

    tell(kind, listener.wake, story)


def test_a_hint_that_cannot_be_followed_does_not_stop_the_next(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    listener = Listener()

    def wake(key: ConversationKey, interacted_at: float, claim: Claim | None) -> None:
        listener.wake(key, interacted_at, claim)
        if interacted_at == 1.0:
            raise ValueError("a fault of the listener")

    async def story(waker: Waker) -> None:
        waker.wake(ALICE, 1.0)
        waker.wake(ALICE, 2.0)
        await listener.hears(1)
        waker.wake(ALICE, 3.0)
        await listener.hears(3)

    tell(kind, wake, story)
    told = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert told == [ValueError]


def test_a_hint_to_a_loop_that_has_ended_is_no_error(kind: Kind) -> None:
    """The message is in the inbox: whoever comes next finds it there."""
    loop = asyncio.new_event_loop()
    loop.close()
    with kind.make(loop, Listener().wake) as waker:
        for _ in range(3):
            waker.wake(ALICE, NOW)


def test_answers_wait_while_pushes_are_queueing_up() -> None:
    """Acknowledging has a deadline, answering has none."""

    async def story() -> None:
        listener, busy = Listener(), [True]
        waker = InProcessWaker(asyncio.get_running_loop(), listener.wake, lambda: bool(busy))
        for n in range(20):
            waker.wake(ALICE, float(n))
        for _ in range(20):
            await asyncio.sleep(0)
        assert listener.heard == []
        busy.clear()
        await listener.hears(20)
        assert [at for _, at in listener.heard] == [float(n) for n in range(20)]

    asyncio.run(story())


def test_answers_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wxbot.wakeups.inprocess.HOLD_SECONDS", 0.0)

    async def story() -> None:
        listener = Listener()
        waker = InProcessWaker(asyncio.get_running_loop(), listener.wake, lambda: True)
        for n in range(20):
            waker.wake(ALICE, float(n))
        await listener.hears(1)
        assert len(listener.heard) < 20
        await listener.hears(20)

    asyncio.run(story())
