"""The state behind the page: the current session, its bot, its timeline and its controls.

All methods may be called from any thread. Starting or stopping a bot takes seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wxbot.errors import WxbotError
from wxbot.playground.page.lanes import lanes_of
from wxbot.playground.page.rows import RowLog, user_state
from wxbot.playground.replay.player import apply_control, play
from wxbot.playground.replay.recorder import Recorder
from wxbot.playground.session import (
    AccountChoice,
    BotState,
    BotUnderTest,
    Credentials,
    Session,
    needs_restart,
    switch_mode,
)
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
from wxbot.testing import Push, Record, User
from wxbot.testing.envelope import Format, Mode

Json = dict[str, Any]

MAX_USERS = 1000
MAX_USER_NAME = 64
MAX_ADVANCE_SECONDS = 30 * 24 * 3600.0
"""Maximum number of seconds by which one step advances the clock."""
TWO_DAYS = 48 * 3600
RESTART = "restart the bot"
ENDED_SESSION_STOP_SECONDS = 1.0
"""Seconds that the bot has for its shutdown when its session has ended already."""
EXITED = "the bot exited unexpectedly: see its log"


class ActionNotAllowed(WxbotError):
    """The action is not possible in this session, or not now. The text gives the reason."""


class Busy(ActionNotAllowed):
    """The bot is starting, or a transcript is being replayed."""

    def __init__(self) -> None:
        super().__init__("the bot is starting or a transcript is being replayed: wait until it is done")


class NotFound(WxbotError):
    """A user, row or file does not exist."""


class SessionView:
    """A session with the data that the page shows about it: rows, the recorder, and the followers."""

    def __init__(self, session: Session, changed: Callable[[], None]) -> None:
        self.session = session
        self.wechat = session.wechat
        self.rows = RowLog(session.wechat, session.began)
        self.recorder = Recorder(session.wechat)
        self._followers: set[str] = set()
        self._changed = changed
        self._stop_listening = session.wechat.on_record(self._on_record)

    def _on_record(self, record: Record) -> None:
        if record.kind == "user":
            event = str(record.body.get("Event", "")).lower()
            if event == "unsubscribe":
                self._followers.discard(record.openid)
            elif event == "subscribe":
                self._followers.add(record.openid)
        self.rows.add(record)
        self._changed()

    def close(self) -> None:
        self._stop_listening()
        self.recorder.close()
        self.session.close()

    # -- as JSON

    def users(self) -> list[Json]:
        return [self.user_state(user) for user in self.wechat.users]

    def users_but(self, known: Collection[str], changed: Collection[str]) -> list[Json]:
        """Return the users whose name is not in ``known`` or is in ``changed``."""
        users = self.wechat.users
        return [self.user_state(user) for user in users if user.name not in known or user.name in changed]

    def user_state(self, user: User) -> Json:
        is_mini_program = self.wechat.platform.account.kind == "miniprogram"
        return user_state(self.wechat, user, self.session.began, is_mini_program or user.openid in self._followers)

    def controls(self) -> Json:
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
            "ahead": self.session.clock.ahead,
        }

    def lanes(self, user: User) -> Json:
        now = self.session.now
        return {"now": now, "from": 0.0, "lanes": lanes_of(user.openid, self.rows.entries[:], now)}


class Playground:
    """The playground with its current session. ``changed`` is called from any thread when the page needs an update."""

    def __init__(self, bot: BotUnderTest, choice: AccountChoice, credentials: Credentials, folder: Path) -> None:
        self.bot = bot
        self.changed: Callable[[], None] = lambda: None
        self.playing: Json | None = None
        self._credentials = credentials
        self._folder = folder
        self._sessions = 0
        self._is_starting = True
        self._problem = ""
        self._lock = threading.Lock()
        self._stop_playing = threading.Event()
        self._replay: threading.Thread | None = None
        self.view = self._new_view(choice.with_valid_format())

    def _new_view(self, choice: AccountChoice) -> SessionView:
        self._sessions += 1
        folder = self._folder / f"session-{self._sessions}"
        folder.mkdir()
        return SessionView(Session(self._sessions, choice, self._credentials, folder), self._notify)

    def _notify(self) -> None:
        self.changed()

    def close(self) -> None:
        """Stop the replay, the bot, then the platform."""
        self.end_playing()
        if self._replay is not None:
            self._replay.join()
        with self._lock:
            self.bot.stop()
            self.view.close()

    # -- as JSON

    def state(self, view: SessionView | None = None) -> Json:
        """Return the complete state for a page. ``view``: the current one, if the caller has it already."""
        view = view or self.view
        account = view.wechat.platform.account
        return {
            "session": view.session.number,
            "now": view.session.now,
            "began": view.session.began,
            "account": {"kind": account.kind, "appid": account.appid, "name": account.original_id},
            "bot": self.bot_state(),
            "controls": view.controls(),
            "users": view.users(),
            "play": self.playing,
        }

    def bot_state(self) -> Json:
        state: BotState = "starting" if self._is_starting else "up" if self.bot.is_up else "down"
        return {
            "state": state,
            "target": self.bot.target,
            "problem": self.view.wechat.platform.redactor.redact(self._problem or EXITED) if state == "down" else "",
            "callback": self.view.wechat.callback_url,
            "plugins": self.bot.plugins,
            "troubles": self.bot.troubles(),
        }

    # -- the bot and the session

    def start(self) -> None:
        """Start the bot. Raises WxbotError if it does not start."""
        with self._lock, self._starting():
            self._serve()

    def restart_bot(self) -> None:
        """Restart the bot with its store. Raises ActionNotAllowed, WxbotError."""
        with self._exclusive(), self._starting(), self._holding_pushes():
            self.view.rows.add_control(RESTART)
            self.bot.restart(self.view.wechat)

    def change_account(self, choice: AccountChoice) -> None:
        """Begin a new session. Raises ActionNotAllowed, WxbotError if the bot does not start in it."""
        with self._exclusive():
            self._begin(choice)

    def change_mode(self, choice: AccountChoice) -> None:
        """Change the mode or format of the pushes. A local bot is restarted if it needs another key."""
        with self._exclusive():
            if choice.form not in choice.forms:
                raise ActionNotAllowed("an Official Account supports XML only")
            self._switch_mode(choice.mode, choice.form)

    def _switch_mode(self, mode: Mode, form: Format) -> None:
        wechat = self.view.wechat
        before = wechat.mode, wechat.format
        self._note_switch_mode(before, (mode, form))  # pushes during the restart use the new mode already
        try:
            if needs_restart(before[0], mode):
                with self._starting(), self._holding_pushes():
                    switch_mode(self.bot, wechat, mode, form)
            else:
                switch_mode(self.bot, wechat, mode, form)
        except WxbotError:
            self._note_switch_mode((mode, form), before)
            raise

    def _note_switch_mode(self, before: tuple[Mode, Format], after: tuple[Mode, Format]) -> None:
        if after[0] != before[0]:
            self.note(SetMode(after[0]))
        if after[1] != before[1]:
            self.note(SetFormat(after[1]))

    def choice(self) -> AccountChoice:
        """Return the current kind, mode and format of the account."""
        wechat = self.view.wechat
        return AccountChoice(wechat.platform.account.kind, wechat.mode, wechat.format)

    def _begin(self, choice: AccountChoice) -> None:
        with self._starting():
            self.view.close()  # first, so that the bot does not wait for this platform
            self.bot.stop(ENDED_SESSION_STOP_SECONDS)
            self.view = self._new_view(choice.with_valid_format())
            self._notify()
            self._serve()

    def _serve(self) -> None:
        session = self.view.session
        self.bot.serve(session.wechat, session.clock, session.folder)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise Busy
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        self._is_starting, self._problem = True, ""
        self._notify()
        try:
            yield
        except WxbotError as error:
            self._problem = str(error)
            raise
        finally:
            self._is_starting = False
            self._notify()

    @contextmanager
    def _holding_pushes(self) -> Iterator[None]:
        """Hold pushes while a local bot starts. Otherwise they would be retried only after WeChat's 5 seconds."""
        wechat = self.view.wechat
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
        """Add a user. Raises ActionNotAllowed if the name is invalid or taken."""
        name = name.strip()
        if not name or len(name) > MAX_USER_NAME or not name.isprintable():
            raise ActionNotAllowed(f"a name must have 1 to {MAX_USER_NAME} printable characters")
        if name in (".", ".."):
            raise ActionNotAllowed("a name must not be `.` or `..`, because it is part of a URL")
        wechat = self.view.wechat
        with wechat.record_log.changed:
            if any(user.name == name for user in wechat.users):
                raise ActionNotAllowed(f"the user {name} exists already")
            if len(wechat.users) >= MAX_USERS:
                raise ActionNotAllowed(f"too many users: the maximum is {MAX_USERS}")
            user = wechat.user(name)
        self._notify()
        return user

    def user(self, name: str) -> User:
        """Return the user of this name. Raises NotFound."""
        for user in self.view.wechat.users:
            if user.name == name:
                return user
        raise NotFound(f"there is no user {name!r}")

    def act(self, action: Callable[[], object]) -> None:
        """Perform an action of a user or agent. Raises ActionNotAllowed if it is not possible, or not now."""
        try:
            action()
        except (ValueError, AssertionError) as error:
            raise ActionNotAllowed(str(error)) from None
        except RuntimeError:
            raise ActionNotAllowed("the session has just ended") from None
        self._notify()

    # -- controls

    def note(self, step: Step) -> None:
        """Add a control step to the transcript and the timeline."""
        self.view.recorder.note(step)
        if not isinstance(step, (UserStep, AgentStep)):  # those are recorded by themselves
            self.view.rows.add_control(in_one_line(step))
        self._notify()

    def redeliver_last(self, user: User) -> None:
        """Redeliver the last push of ``user``. Raises NotFound if there is none."""
        if not user.pushes:
            raise NotFound(f"{user.name} has no push to redeliver yet")
        self._redeliver(user.pushes[-1])

    def redeliver_row(self, number: int) -> None:
        """Redeliver the push in row ``number`` of the timeline. Raises NotFound if the row has none."""
        entries = self.view.rows.entries
        record = entries[number].record if number < len(entries) else None
        if record and record.kind in ("push", "user", "agent") and record.name:
            for push in self.user(record.name).pushes:
                if push.fields == record.body:
                    self._redeliver(push)
                    return
        raise NotFound(f"row {number} contains no push")

    def _redeliver(self, push: Push) -> None:
        self.view.recorder.note_redelivery(push)
        push.redeliver()
        self._notify()

    def apply(self, step: Step) -> None:
        """Apply the control step ``step``. Raises ActionNotAllowed."""
        view = self.view
        with view.wechat.record_log.changed:  # its effects must be recorded after it
            if isinstance(step, Release) and view.wechat.held is None:
                raise ActionNotAllowed("no pushes are held")
            view.recorder.note(step)
            view.rows.add_control(in_one_line(step))
            apply_control(step, view.wechat)
        self._notify()

    def advance_clock(self, seconds: float) -> None:
        """Advance the clock. Raises ActionNotAllowed."""
        if not 0 < seconds <= MAX_ADVANCE_SECONDS:
            raise ActionNotAllowed("the clock can be advanced by more than 0 and at most 30 days (2592000 s)")
        seconds = round(seconds, 3)
        self.note(Forward(seconds))
        self.view.session.clock.advance(seconds)
        self.view.wechat.record_log.wake()

    def seconds_to(self, user: User, to: int) -> float:
        """Return the seconds from now until ``to`` seconds after the user's last interaction.

        For 48 hours: until the reply quota expires. Raises ActionNotAllowed if that moment has passed or there was no
        interaction.
        """
        platform = self.view.wechat.platform
        standing = platform.status_of(user.openid)
        goal = standing.allowed_until if to == TWO_DAYS else standing.last_interaction + to
        left = goal - platform.clock.now()
        if left == -float("inf"):
            raise ActionNotAllowed(f"{user.name} has no interaction yet: send a message first")
        if left <= 0:
            raise ActionNotAllowed(f"that moment has passed already for {user.name}: send a message first")
        return left

    # -- transcripts

    def play(self, transcript: Transcript, name: str) -> None:
        """Start the replay of ``transcript`` in a new session, in a thread of its own. Raises Busy."""
        if not self._lock.acquire(blocking=False):
            raise Busy
        self._stop_playing.clear()
        self._replay = threading.Thread(target=self._play, args=(transcript, name), name="wxbot-replay")
        self._replay.start()

    def stop_playing(self) -> None:
        """Stop the replay. Raises ActionNotAllowed if there is none."""
        if self.playing is None or self.playing["state"] != "playing":
            raise ActionNotAllowed("no transcript is being replayed")
        self.end_playing()

    def end_playing(self) -> None:
        """Stop the replay, if there is one."""
        self._stop_playing.set()
        self.view.wechat.record_log.wake()

    def _play(self, transcript: Transcript, name: str) -> None:
        steps = len(transcript.steps)
        progress = {"name": name, "done": 0, "steps": steps, "problems": []}
        self.playing = {**progress, "state": "playing"}
        try:
            problems = self._differences(transcript, progress)
            over = self.view.wechat.platform.redactor.redact
            result = {"state": "failed" if problems else "passed", "problems": [over(problem) for problem in problems]}
            self.playing = {**progress, "done": steps, **result}
            self._notify()
        finally:
            self._lock.release()

    def _differences(self, transcript: Transcript, progress: Json) -> Sequence[str]:
        try:
            self._begin(AccountChoice(transcript.account_kind, transcript.mode, transcript.format))
            return play(
                transcript,
                self.view.wechat,
                self.advance_clock,
                lambda done: self._on_step(progress, transcript.steps[done - 1], done),
                switch_mode=lambda mode: self._switch_mode(mode, self.view.wechat.format),
                is_stopped=self._stop_playing.is_set,
            )
        except WxbotError as error:
            return [str(error)]

    def _on_step(self, progress: Json, step: Step, done: int) -> None:
        if not isinstance(step, (Forward, SetMode)):  # those are noted already
            self.note(step)
        self.playing = {**progress, "state": "playing", "done": done}
        self._notify()
