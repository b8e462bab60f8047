"""A process was stopped for a while, and another one has taken over: the user reads every answer once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.stories.support import Log, turn_until
from wxbot import Context, Plugin
from wxbot.clock import Clock, Timer
from wxbot.conversation.conversation import LEASE_MARGIN
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User, serve, settings_for

LEASE = 8.0
NOT_PERMITTED = "was not sent: the lease on this conversation expired before the request was written"
ASKING = "checking ownership"


class StoppableClock:
    """The time as a process sees it that may be stopped: what falls due meanwhile happens when it goes on."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._stopped = False
        self._late: list[Callable[[], object]] = []

    def now(self) -> float:
        return self._clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        loop = asyncio.get_running_loop()

        def due() -> None:
            if self._stopped:
                self._late.append(lambda: loop.call_soon_threadsafe(callback))
            else:
                callback()

        return self._clock.call_later(delay, due)

    def stop(self) -> None:
        self._stopped = True

    def go_on(self) -> None:
        self._stopped = False
        late, self._late = self._late, []
        for callback in late:
            callback()


class ClockAhead:
    """A clock that is wrong by some seconds."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_later(delay, callback)


class Handler:
    """A plugin that answers at once or, announced to, when the test says so; ``runs`` counts how often it was asked."""

    def __init__(self) -> None:
        self.runs = 0
        self.plugin = Plugin("test")
        self.begun, self.may_answer = threading.Event(), threading.Event()

        @self.plugin.text("slow")
        def slow(ctx: Context) -> str:
            self.begun.set()
            assert self.may_answer.wait(10)
            return "answer to slow"

        @self.plugin.fallback
        async def answer(ctx: Context) -> str:
            self.runs += 1
            return f"answer to {ctx.text}"


class Machines:
    """Bots that share a store and one user, Alice, whose pushes go to the first; it can be stopped."""

    def __init__(self, wechat: FakeWeChat, clock: ManualClock) -> None:
        self.wechat = wechat
        self.clock = clock
        self.first = StoppableClock(clock)
        self.bots: list[Bot] = []
        self.handler = Handler()
        self.alice = wechat.user("alice")

    def turn_until(self, text: str) -> None:
        """Time passes until Alice has read ``text``."""
        turn_until(self.clock, lambda limit: self.alice.waits_for(text, timeout=limit))


@contextmanager
def machines(folder: Path, *, others: Sequence[float] = (), **choices: object) -> Iterator[Machines]:
    """The first bot and as many others as ``others`` says how far their clocks are ahead, in seconds."""
    clock = ManualClock()
    with FakeWeChat(clock) as wechat, ExitStack() as stack:
        made = Machines(wechat, clock)
        settings = settings_for(wechat, folder / "wxbot.db", lease_seconds=LEASE, **choices)
        clocks: list[Clock] = [made.first, *(ClockAhead(clock, seconds) for seconds in others)]
        for one in clocks:
            made.bots.append(make_bot(settings, plugins=[made.handler.plugin], clock=one))
            address = stack.enter_context(serve(made.bots[-1]))
            wechat.callback_url = wechat.callback_url or address
        yield made


def replies(user: User) -> list[str]:
    return [seen for seen in user.saw if seen not in ("Typing", "CancelTyping")]


def sends(user: User) -> int:
    return sum(record.kind == "send" and not record.errcode for record in user.timeline)


@pytest.mark.parametrize("typing", [True, False])
@pytest.mark.parametrize("waits_for", ["its first token", "another token"])
def test_a_send_that_waited_until_another_process_had_answered_is_not_written(
    tmp_path: Path, log: Log, waits_for: str, typing: bool
) -> None:
    with machines(tmp_path, others=[0.0], typing=typing) as scene:
        alice, wechat = scene.alice, scene.wechat
        if waits_for == "another token":
            alice.says("one").wait()
            alice.waits_for("answer to one")
            wechat.faults.revoke_token()
        fetched = wechat.token_fetches
        wechat.faults.slow("token", 30.0, times=1)
        alice.says("two").wait()
        wechat.waits_until(lambda: wechat.token_fetches == fetched + 1)
        scene.first.stop()
        runs = scene.handler.runs
        scene.turn_until("answer to two")
        assert scene.handler.runs == runs + 1, "by the second process"
        assert log.count(NOT_PERMITTED) == 0
        scene.clock.advance(30)  # now the first one has its token
        log.waits_for(NOT_PERMITTED)
        scene.first.go_on()
        alice.says("three").wait()
        scene.turn_until("answer to three")
    assert replies(alice)[-2:] == ["answer to two", "answer to three"]
    assert sends(alice) == len(replies(alice))
    assert [call for call in wechat.violations if not call.needless] == []  # a Typing noted but not called is cancelled


@pytest.mark.parametrize("left", [LEASE_MARGIN + 0.25, LEASE_MARGIN - 0.25])
def test_shortly_before_its_end_a_lease_is_not_relied_on(tmp_path: Path, log: Log, left: float) -> None:
    with machines(tmp_path, typing=False) as scene:
        scene.alice.says("slow").wait()
        assert scene.handler.begun.wait(10)
        scene.first.stop()  # so nothing renews the lease
        scene.clock.advance(LEASE - left)
        scene.handler.may_answer.set()
        scene.alice.waits_for("answer to slow")
        assert (log.count(ASKING) > 0) == (left < LEASE_MARGIN)
        assert log.count(NOT_PERMITTED) == 0
        scene.first.go_on()
    assert replies(scene.alice) == ["answer to slow"]


def test_a_send_that_waited_for_too_long_is_written_all_the_same_if_nobody_took_over(tmp_path: Path, log: Log) -> None:
    with machines(tmp_path, typing=False) as scene:
        scene.wechat.faults.slow("token", 30.0, times=1)
        scene.alice.says("hi").wait()
        scene.wechat.waits_until(lambda: scene.wechat.token_fetches == 1)
        scene.first.stop()
        scene.clock.advance(30)
        log.waits_for(NOT_PERMITTED)
        scene.first.go_on()
        scene.turn_until("answer to hi")
        assert scene.handler.runs == 1
    assert replies(scene.alice) == ["answer to hi"]


def test_an_owner_that_learns_of_its_loss_sends_nothing_more_whatever_its_clock_says(tmp_path: Path, log: Log) -> None:
    with machines(tmp_path, others=[LEASE + 2], typing=False) as scene:
        scene.wechat.faults.slow("token", 6.5, times=1)
        scene.alice.says("hi").wait()
        scene.wechat.waits_until(lambda: scene.wechat.token_fetches == 1)
        turn_until(scene.clock, lambda limit: wait_until(lambda: has_lost(scene.bots[0]), limit), turns=6)
        scene.turn_until("answer to hi")
        assert log.count(NOT_PERMITTED) == 0
        turn_until(scene.clock, lambda limit: wait_until(lambda: not has_lost(scene.bots[0]), limit))
    assert scene.handler.runs == 2
    assert replies(scene.alice) == ["answer to hi"]


def has_lost(bot: Bot) -> bool:
    """Whether the bot works a conversation of which it knows that it is somebody else's."""
    assert bot._runtime is not None
    assert bot._runtime._dispatcher is not None
    return any(conversation.lost for conversation in list(bot._runtime._dispatcher._active.values()))


def wait_until(condition: Callable[[], bool], limit: float) -> None:
    """For what nobody tells us of."""
    never, pauses = threading.Event(), int(limit / 0.01)
    for _ in range(pauses):
        if condition():
            return
        never.wait(0.01)
    assert condition()
