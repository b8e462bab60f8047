"""A process is stopped for a while and another process takes over: the user gets every reply once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.stories.support import Log, advance_until, asks, replies
from wxbot import Context, Plugin
from wxbot.clock import Clock, Timer
from wxbot.conversation.conversation import LEASE_MARGIN
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User, serve, settings_for

LEASE = 8.0
LEASE_EXPIRED = "was not sent: the lease on this conversation expired before the request was written"
CHECKING = "checking ownership"


class StoppableClock:
    """The clock of a process that can be stopped. Timers that become due meanwhile run when it continues."""

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

    def resume(self) -> None:
        self._stopped = False
        late, self._late = self._late, []
        for callback in late:
            callback()


class ClockAhead:
    """A clock that is ahead of another clock by ``seconds``."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_later(delay, callback)


class Handler:
    """A plugin that replies at once, or to "slow" when the test releases it. ``runs`` counts the calls."""

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
    """Bots that share a store and one user, Alice, whose pushes go to the first bot. That bot can be stopped."""

    def __init__(self, wechat: FakeWeChat, clock: ManualClock) -> None:
        self.wechat = wechat
        self.clock = clock
        self.first = StoppableClock(clock)
        self.bots: list[Bot] = []
        self.handler = Handler()
        self.alice = wechat.user("alice")

    def advance_until(self, text: str) -> None:
        """Advance the clock until Alice has seen ``text``."""
        advance_until(self.clock, lambda limit: self.alice.waits_for(text, timeout=limit))


@contextmanager
def machines(folder: Path, *, others: Sequence[float] = (), **choices: object) -> Iterator[Machines]:
    """Run the first bot and one more bot for each of ``others``: the seconds that its clock is ahead."""
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


def accepted_sends(user: User) -> int:
    return sum(record.kind == "send" and not record.errcode for record in user.timeline)


@pytest.mark.parametrize("typing", [True, False])
@pytest.mark.parametrize("waits_for", ["its first token", "another token"])
def test_a_send_is_not_written_after_another_process_has_answered(
    tmp_path: Path, log: Log, waits_for: str, typing: bool
) -> None:
    with machines(tmp_path, others=[0.0], typing=typing) as setup:
        alice, wechat = setup.alice, setup.wechat
        if waits_for == "another token":
            asks(alice, "one", "answer to one")
            wechat.faults.revoke_token()
        fetched = wechat.token_fetches
        wechat.faults.slow("token", 30.0, times=1)
        alice.says("two").wait()
        wechat.waits_until(lambda: wechat.token_fetches == fetched + 1)
        setup.first.stop()
        runs = setup.handler.runs
        setup.advance_until("answer to two")
        assert setup.handler.runs == runs + 1, "by the second process"
        assert log.count(LEASE_EXPIRED) == 0
        setup.clock.advance(30)  # now the first bot has its access token
        log.waits_for(LEASE_EXPIRED)
        setup.first.resume()
        alice.says("three").wait()
        setup.advance_until("answer to three")
    assert replies(alice)[-2:] == ["answer to two", "answer to three"]
    assert accepted_sends(alice) == len(replies(alice))
    # CancelTyping is called for a Typing that was noted but not sent
    assert not [call for call in wechat.violations if not call.needless]


@pytest.mark.parametrize("left", [LEASE_MARGIN + 0.25, LEASE_MARGIN - 0.25])
def test_a_lease_is_checked_shortly_before_it_expires(tmp_path: Path, log: Log, left: float) -> None:
    with machines(tmp_path, typing=False) as setup:
        setup.alice.says("slow").wait()
        assert setup.handler.begun.wait(10)
        setup.first.stop()  # so that nothing renews the lease
        setup.clock.advance(LEASE - left)
        setup.handler.may_answer.set()
        setup.alice.waits_for("answer to slow")
        assert (log.count(CHECKING) > 0) == (left < LEASE_MARGIN)
        assert log.count(LEASE_EXPIRED) == 0
        setup.first.resume()
    assert replies(setup.alice) == ["answer to slow"]


def test_a_late_send_is_written_if_no_process_took_over(tmp_path: Path, log: Log) -> None:
    with machines(tmp_path, typing=False) as setup:
        setup.wechat.faults.slow("token", 30.0, times=1)
        setup.alice.says("hi").wait()
        setup.wechat.waits_until(lambda: setup.wechat.token_fetches == 1)
        setup.first.stop()
        setup.clock.advance(30)
        log.waits_for(LEASE_EXPIRED)
        setup.first.resume()
        setup.advance_until("answer to hi")
        assert setup.handler.runs == 1
    assert replies(setup.alice) == ["answer to hi"]


def test_an_owner_that_has_lost_the_lease_sends_nothing_with_a_wrong_clock(tmp_path: Path, log: Log) -> None:
    with machines(tmp_path, others=[LEASE + 2], typing=False) as setup:
        setup.wechat.faults.slow("token", 6.5, times=1)
        setup.alice.says("hi").wait()
        setup.wechat.waits_until(lambda: setup.wechat.token_fetches == 1)
        advance_until(setup.clock, lambda limit: wait_until(lambda: has_lost(setup.bots[0]), limit), steps=6)
        setup.advance_until("answer to hi")
        assert log.count(LEASE_EXPIRED) == 0
        advance_until(setup.clock, lambda limit: wait_until(lambda: not has_lost(setup.bots[0]), limit))
    assert setup.handler.runs == 2
    assert replies(setup.alice) == ["answer to hi"]


def has_lost(bot: Bot) -> bool:
    """Return True if the bot processes a conversation that it knows to have lost."""
    assert bot._runtime is not None
    assert bot._runtime._dispatcher is not None
    return any(conversation.lost for conversation in list(bot._runtime._dispatcher._active.values()))


def wait_until(condition: Callable[[], bool], limit: float) -> None:
    """Wait until ``condition`` holds, for at most ``limit`` seconds."""
    never, pauses = threading.Event(), int(limit / 0.01)
    for _ in range(pauses):
        if condition():
            return
        never.wait(0.01)
    assert condition()
