"""What the page is about: the world there is now, its bot, its timeline, and what may be turned.

All of this may be called from every thread; what starts or stops a bot takes seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wxbot.errors import WxbotError
from wxbot.playground.page.lanes import lanes_of
from wxbot.playground.page.rows import RowBook, user_state
from wxbot.playground.replay.player import order, play
from wxbot.playground.replay.recorder import Recorder
from wxbot.playground.transcript import (
    AgentStep,
    Forward,
    Release,
    SetFormat,
    SetMode,
    Step,
    Transcript,
    UserStep,
    in_one_line,
)
from wxbot.playground.world import AccountChoice, BotState, Credentials, PlayedBot, World, needs_another_key, switch
from wxbot.testing import Push, Record, User
from wxbot.testing.envelope import Format, Mode

Json = dict[str, Any]

MOST_USERS = 1000
LONGEST_NAME = 64
LONGEST_LEAP = 30 * 24 * 3600.0
"""Seconds that the clock may be turned at once."""
TWO_DAYS = 48 * 3600
RESTART = "restart the bot"
LAST_SECONDS = 1.0
"""For the bot to end in when its world has ended already."""
ENDED = "the bot ended by itself; its log says why"


class SendNotAllowed(WxbotError):
    """What was asked for cannot be done in this world, or not now; the text says why."""


class Busy(SendNotAllowed):
    """The bot is being started, or a transcript plays."""

    def __init__(self) -> None:
        super().__init__("the bot is just being started, or a transcript plays: wait until that is done")


class NoSuchThing(WxbotError):
    """There is no user, row or file of this name."""


class Scene:
    """One world with everything the page keeps about it."""

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        self.world = world
        self.wechat = world.wechat
        self.book = RowBook(world.wechat, world.began)
        self.recorder = Recorder(world.wechat)
        self._followers: set[str] = set()
        self._changed = changed
        self._stop_listening = world.wechat.on_record(self._write)

    def _write(self, record: Record) -> None:
        if record.kind == "user":
            event = str(record.body.get("Event", "")).lower()
            if event == "unsubscribe":
                self._followers.discard(record.openid)
            elif event == "subscribe":
                self._followers.add(record.openid)
        self.book.write(record)
        self._changed()

    def close(self) -> None:
        self._stop_listening()
        self.recorder.close()
        self.world.close()

    # -- as JSON

    def users(self) -> list[Json]:
        return [self.user_state(user) for user in self.wechat.users]

    def users_but(self, known: Collection[str], changed: Collection[str]) -> list[Json]:
        """Those whose name is not in ``known``, or is in ``changed``."""
        users = self.wechat.users
        return [self.user_state(user) for user in users if user.name not in known or user.name in changed]

    def user_state(self, user: User) -> Json:
        is_mini_program = self.wechat.platform.account.kind == "miniprogram"
        return user_state(self.wechat, user, self.world.began, is_mini_program or user.openid in self._followers)

    def knobs(self) -> Json:
        wechat = self.wechat
        kind = wechat.platform.account.kind
        return {
            "mode": wechat.mode,
            "format": wechat.format,
            "formats": list(AccountChoice(kind).forms),
            "deliver_twice_at_once": wechat.deliver_twice_at_once,
            "in_order": wechat.in_order,
            "held": wechat.held,
            "faults": [
                {"endpoint": endpoint, "what": str(fault), "times": fault.times}
                for endpoint, fault in wechat.faults.injected()
            ],
            "ahead": self.world.clock.ahead,
        }

    def lanes(self, user: User) -> Json:
        now = self.world.now
        return {"now": now, "from": 0.0, "lanes": lanes_of(user.openid, self.book.entries[:], now)}


class Playground:
    """The page's one world at a time. ``changed`` is called, from any thread, when something is to be shown anew."""

    def __init__(self, bot: PlayedBot, choice: AccountChoice, credentials: Credentials, folder: Path) -> None:
        self.bot = bot
        self.changed: Callable[[], None] = lambda: None
        self.playing: Json | None = None
        self._credentials = credentials
        self._folder = folder
        self._worlds = 0
        self._is_starting = True
        self._problem = ""
        self._turning = threading.Lock()
        self._stop_playing = threading.Event()
        self.scene = self._new_scene(choice.made_possible())

    def _new_scene(self, choice: AccountChoice) -> Scene:
        self._worlds += 1
        folder = self._folder / f"world-{self._worlds}"
        folder.mkdir()
        return Scene(World(self._worlds, choice, self._credentials, folder), self._tell)

    def _tell(self) -> None:
        self.changed()

    def close(self) -> None:
        """Stop the bot, then the platform. What is being played ends."""
        self.end_playing()
        with self._turning:
            self.bot.stop()
            self.scene.close()

    # -- as JSON

    def state(self, scene: Scene | None = None) -> Json:
        """Everything the page begins with. ``scene``: the one there is now, if it was looked up already."""
        scene = scene or self.scene
        account = scene.wechat.platform.account
        return {
            "world": scene.world.number,
            "now": scene.world.now,
            "began": scene.world.began,
            "account": {"kind": account.kind, "appid": account.appid, "name": account.original_id},
            "bot": self.bot_state(),
            "knobs": scene.knobs(),
            "users": scene.users(),
            "play": self.playing,
        }

    def bot_state(self) -> Json:
        state: BotState = "starting" if self._is_starting else "up" if self.bot.is_up else "down"
        return {
            "state": state,
            "target": self.bot.target,
            "problem": self.scene.wechat.platform.redactor.redact(self._problem or ENDED) if state == "down" else "",
            "callback": self.scene.wechat.callback_url,
            "plugins": self.bot.plugins,
            "troubles": self.bot.troubles(),
        }

    # -- the bot and its world

    def start(self) -> None:
        """Start the bot. Raises WxbotError."""
        with self._turning, self._starting():
            self._serve()

    def restart_bot(self) -> None:
        """Start it again, with what it keeps. Raises SendNotAllowed, WxbotError."""
        with self._alone(), self._starting(), self._keeping_pushes():
            self.scene.book.tell(RESTART)
            self.bot.restart(self.scene.wechat)

    def change_account(self, choice: AccountChoice) -> None:
        """Begin a new world. Raises SendNotAllowed, WxbotError if the bot does not start in it."""
        with self._alone():
            self._begin(choice)

    def change_mode(self, choice: AccountChoice) -> None:
        """Push in another mode or format from now on; our own bot is started again if its key is another then."""
        with self._alone():
            if choice.form not in choice.forms:
                raise SendNotAllowed("an Official Account pushes XML only")
            self._switch(choice.mode, choice.form)

    def _switch(self, mode: Mode, form: Format) -> None:
        wechat = self.scene.wechat
        before = wechat.mode, wechat.format
        self._note_switch(before, (mode, form))  # what is pushed while the bot starts is pushed so already
        try:
            if needs_another_key(before[0], mode):
                with self._starting(), self._keeping_pushes():
                    switch(self.bot, wechat, mode, form)
            else:
                switch(self.bot, wechat, mode, form)
        except WxbotError:
            self._note_switch((mode, form), before)
            raise

    def _note_switch(self, before: tuple[Mode, Format], after: tuple[Mode, Format]) -> None:
        if after[0] != before[0]:
            self.note(SetMode(after[0]))
        if after[1] != before[1]:
            self.note(SetFormat(after[1]))

    def choice(self) -> AccountChoice:
        """The account as it is now."""
        wechat = self.scene.wechat
        return AccountChoice(wechat.platform.account.kind, wechat.mode, wechat.format)

    def _begin(self, choice: AccountChoice) -> None:
        with self._starting():
            self.scene.close()  # first: a bot that waits for an answer of this world is not worth waiting for
            self.bot.stop(LAST_SECONDS)
            self.scene = self._new_scene(choice.made_possible())
            self._tell()
            self._serve()

    def _serve(self) -> None:
        world = self.scene.world
        self.bot.serve(world.wechat, world.clock, world.folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._turning.acquire(blocking=False):
            raise Busy
        try:
            yield
        finally:
            self._turning.release()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        self._is_starting, self._problem = True, ""
        self._tell()
        try:
            yield
        except WxbotError as error:
            self._problem = str(error)
            raise
        finally:
            self._is_starting = False
            self._tell()

    @contextmanager
    def _keeping_pushes(self) -> Iterator[None]:
        """Pushes wait while our bot starts: else a new one would be tried again only after WeChat's 5 seconds."""
        wechat = self.scene.wechat
        if self.bot.target or wechat.held is not None:
            yield
            return
        wechat.hold()
        try:
            yield
        finally:
            wechat.release()

    # -- users

    def add_user(self, name: str) -> User:
        """Raises SendNotAllowed for a name that is taken or no name."""
        name = name.strip()
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise SendNotAllowed(f"a name has 1 to {LONGEST_NAME} characters")
        if name in (".", ".."):
            raise SendNotAllowed("a name of dots alone cannot stand in an address")
        wechat = self.scene.wechat
        with wechat.record_log.changed:
            if any(user.name == name for user in wechat.users):
                raise SendNotAllowed(f"{name} is there already")
            if len(wechat.users) >= MOST_USERS:
                raise SendNotAllowed(f"{MOST_USERS} users are enough for one page")
            user = wechat.user(name)
        self._tell()
        return user

    def user(self, name: str) -> User:
        """Raises NoSuchThing."""
        for user in self.scene.wechat.users:
            if user.name == name:
                return user
        raise NoSuchThing(f"there is no user {name!r}")

    def does(self, deed: Callable[[], object]) -> None:
        """A user or an agent does something. Raises SendNotAllowed where the account has no such deed, or not now."""
        try:
            deed()
        except (ValueError, AssertionError) as error:
            raise SendNotAllowed(str(error)) from None
        except RuntimeError:
            raise SendNotAllowed("this world has just ended") from None
        self._tell()

    # -- what can be turned

    def note(self, step: Step) -> None:
        """Something was turned: for the transcript, and to be shown."""
        self.scene.recorder.note(step)
        if not isinstance(step, (UserStep, AgentStep)):  # these leave a record of their own
            self.scene.book.tell(in_one_line(step))
        self._tell()

    def redeliver_last(self, user: User) -> None:
        """Raises NoSuchThing where nothing was pushed yet."""
        if not user.pushes:
            raise NoSuchThing(f"nothing of {user.name} was pushed yet")
        self._redeliver(user.pushes[-1])

    def redeliver_row(self, number: int) -> None:
        """The push that a row of the timeline tells of. Raises NoSuchThing where it tells of none."""
        entries = self.scene.book.entries
        record = entries[number].record if number < len(entries) else None
        if record and record.kind in ("push", "user", "agent") and record.name:
            for push in self.user(record.name).pushes:
                if push.fields == record.body:
                    self._redeliver(push)
                    return
        raise NoSuchThing(f"row {number} tells of no push")

    def _redeliver(self, push: Push) -> None:
        self.scene.recorder.note_redelivery(push)
        push.redeliver()
        self._tell()

    def turn(self, step: Step) -> None:
        """Turn a knob as ``step`` says. Raises SendNotAllowed."""
        scene = self.scene
        with scene.wechat.record_log.changed:  # nothing that comes of it is recorded before it
            if isinstance(step, Release) and scene.wechat.held is None:
                raise SendNotAllowed("no pushes are held")
            scene.recorder.note(step)
            scene.book.tell(in_one_line(step))
            order(step, scene.wechat)
        self._tell()

    def leap(self, seconds: float) -> None:
        """Turn the clock forward. Raises SendNotAllowed."""
        if not 0 < seconds <= LONGEST_LEAP:
            raise SendNotAllowed("the clock can be turned forward by more than 0 and at most 30 days (2592000 s)")
        seconds = round(seconds, 3)
        self.note(Forward(seconds))
        self.scene.world.clock.advance(seconds)
        self.scene.wechat.record_log.wake()

    def seconds_to(self, user: User, to: int) -> float:
        """From now until ``to`` seconds after the user's last interaction; 48 h: until the allowance ends.

        Raises SendNotAllowed where that is past, or there was none.
        """
        platform = self.scene.wechat.platform
        standing = platform.status_of(user.openid)
        goal = standing.allowed_until if to == TWO_DAYS else standing.last_interaction + to
        left = goal - platform.clock.now()
        if left == -float("inf"):
            raise SendNotAllowed(f"{user.name} has done nothing yet that time could be counted from")
        if left <= 0:
            raise SendNotAllowed(f"that moment has passed already for {user.name}: let them write first")
        return left

    # -- transcripts

    def play(self, transcript: Transcript, name: str) -> Callable[[], Sequence[str]]:
        """Get ready to play ``transcript`` in a new world. Returns what does it. Raises SendNotAllowed."""
        if not self._turning.acquire(blocking=False):
            raise Busy
        self._stop_playing.clear()

        def at_last() -> Sequence[str]:
            try:
                return self._play(transcript, name)
            finally:
                self._turning.release()

        return at_last

    def stop_playing(self) -> None:
        """End what is being played. Raises SendNotAllowed if nothing is."""
        if self.playing is None or self.playing["state"] != "playing":
            raise SendNotAllowed("no transcript plays")
        self.end_playing()

    def end_playing(self) -> None:
        """End what is being played, if anything is."""
        self._stop_playing.set()
        self.scene.wechat.record_log.wake()

    def _play(self, transcript: Transcript, name: str) -> Sequence[str]:
        steps = len(transcript.steps)
        told = {"name": name, "done": 0, "steps": steps, "problems": []}
        self.playing = {**told, "state": "playing"}
        try:
            self._begin(AccountChoice(transcript.account_kind, transcript.mode, transcript.format))
            problems: Sequence[str] = play(
                transcript,
                self.scene.wechat,
                self.leap,
                lambda done: self._played(told, transcript.steps[done - 1], done),
                switch_mode=lambda mode: self._switch(mode, self.scene.wechat.format),
                is_stopped=self._stop_playing.is_set,
            )
        except WxbotError as error:
            problems = [str(error)]
        over = self.scene.wechat.platform.redactor.redact
        state = "failed" if problems else "passed"
        self.playing = {**told, "state": state, "done": steps, "problems": [over(problem) for problem in problems]}
        self._tell()
        return problems

    def _played(self, told: Json, step: Step, done: int) -> None:
        if not isinstance(step, (Forward, SetMode)):  # these have been noted
            self.note(step)
        self.playing = {**told, "state": "playing", "done": done}
        self._tell()
