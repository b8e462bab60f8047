"""What every waker promises: a hint from any thread reaches the event loop, in its own thread, soon."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contracts.support import ALICE, NOW
from wxbot.backends.inprocess import InProcessWaker, Wake
from wxbot.ports import Claim, ConversationKey, Waker

WakerFactory = Callable[[asyncio.AbstractEventLoop, Wake], Waker]
WAKERS: Sequence[WakerFactory] = (InProcessWaker,)
"""Every waker there is."""

THREADS = 8
HINTS = 3000


@pytest.fixture(params=WAKERS, ids=lambda factory: str(factory.__name__))
def factory(request: pytest.FixtureRequest) -> WakerFactory:
    chosen: WakerFactory = request.param
    return chosen


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


def test_a_hint_from_a_thread_arrives_in_the_loops_own_thread(factory: WakerFactory) -> None:
    async def story() -> None:
        listener = Listener()
        waker = factory(asyncio.get_running_loop(), listener.wake)
        await asyncio.to_thread(waker.wake, ALICE, NOW)
        await listener.hears(1)
        assert listener.heard == [(ALICE, NOW)]
        assert listener.threads == {threading.get_ident()}

    asyncio.run(story())


def test_a_hint_from_the_loop_itself_arrives(factory: WakerFactory) -> None:
    async def story() -> None:
        listener = Listener()
        factory(asyncio.get_running_loop(), listener.wake).wake(ALICE, NOW)
        await listener.hears(1)

    asyncio.run(story())


@pytest.mark.usefixtures("hasty_threads")
def test_no_hint_is_left_lying(factory: WakerFactory) -> None:
    """Many threads, while the loop delivers; each thread's hints arrive in their order."""

    async def story() -> None:
        listener = Listener()
        waker = factory(asyncio.get_running_loop(), listener.wake)

        def hint(thread: int) -> None:
            for n in range(HINTS):
                waker.wake(ConversationKey(f"thread {thread}", f"user {n}"), float(n))

        with ThreadPoolExecutor(THREADS) as pool:
            running = [asyncio.get_running_loop().run_in_executor(pool, hint, thread) for thread in range(THREADS)]
            await asyncio.gather(*running)
            await listener.hears(THREADS * HINTS)
        for thread in range(THREADS):
            times = [at for key, at in listener.heard if key.appid == f"thread {thread}"]
            assert times == [float(n) for n in range(HINTS)]

    asyncio.run(story())


def test_a_hint_that_cannot_be_followed_does_not_stop_the_next(factory: WakerFactory) -> None:
    async def story() -> None:
        listener = Listener()
        complaints: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: complaints.append(context["exception"]))

        def wake(key: ConversationKey, interacted_at: float, claim: Claim | None) -> None:
            listener.wake(key, interacted_at, claim)
            if interacted_at == 1.0:
                raise ValueError("a fault of the listener")

        waker = factory(loop, wake)
        waker.wake(ALICE, 1.0)
        waker.wake(ALICE, 2.0)
        await listener.hears(1)
        waker.wake(ALICE, 3.0)
        await listener.hears(3)
        assert [type(complaint) for complaint in complaints] == [ValueError]

    asyncio.run(story())


def test_a_hint_to_a_loop_that_has_ended_is_no_error(factory: WakerFactory) -> None:
    """The message is in the inbox: whoever comes next finds it there."""

    async def story() -> Waker:
        return factory(asyncio.get_running_loop(), Listener().wake)

    waker = asyncio.run(story())
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
    monkeypatch.setattr("wxbot.backends.inprocess.HOLD_SECONDS", 0.0)

    async def story() -> None:
        listener = Listener()
        waker = InProcessWaker(asyncio.get_running_loop(), listener.wake, lambda: True)
        for n in range(20):
            waker.wake(ALICE, float(n))
        await listener.hears(1)
        assert len(listener.heard) < 20
        await listener.hears(20)

    asyncio.run(story())
