"""FakeWeChat at the console: write as a user, see what the platform sees."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from wxbot.playground.bot_process import BotProcess, check_bot
from wxbot.playground.replay.timeline import HEADER, line
from wxbot.testing import FakeWeChat, Push, RealClock, Record, User

HELP = """\
Write a message and press Enter: it is pushed to the bot, and what the platform sees appears here.
  /user NAME        go on as another user        /image            send a picture
  /enter [FROM]     enter the session            /event NAME       do something else
  /again            WeChat delivers the last push once more
  /busy | /error | /drop   the next reply fails: -1, HTTP 500, connection dropped
  /slow SECONDS     typing calls take this long (0: no faults)  /revoke           the access token is refused
  /seen             what this user saw           /help  /quit"""


class Console:
    """One person playing the users of one account."""

    def __init__(self, wechat: FakeWeChat, say: Callable[[str], None]) -> None:
        self._wechat = wechat
        self._say = say
        self._user: User = wechat.user("you")
        self._last: Push | None = None
        self._pushes: list[Push] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "user": self._switch,
            "image": lambda _: self._did(self._user.sends_image()),
            "enter": lambda came_from: self._did(self._user.enters(came_from)),
            "event": lambda name: self._did(self._user.does(name or "CLICK")),
            "again": lambda _: self._redeliver(),
            "busy": lambda _: wechat.faults.fail("send"),
            "error": lambda _: wechat.faults.http_error("send"),
            "drop": lambda _: wechat.faults.drop("send"),
            "slow": self._slow,
            "revoke": lambda _: wechat.faults.revoke_token(),
            "seen": lambda _: say("  " + "  ".join(self._user.saw)),
            "help": lambda _: say(HELP),
        }

    def obey(self, written: str) -> bool:
        """Do what was written; False to end."""
        written = written.strip()
        if written in ("/quit", "/exit"):
            return False
        if not written.startswith("/"):
            if written:
                self._did(self._user.says(written))
            return True
        name, _, argument = written[1:].partition(" ")
        command = self._commands.get(name)
        if command is None:
            self._say(f"There is no command /{name}; /help shows them all.")
        else:
            command(argument.strip())
        return True

    def finish(self) -> None:
        """Let every push arrive: the stopping bot ends what it has begun."""
        if self._last is not None:
            self._wechat.waits_until(lambda: all(push.done for push in self._pushes), why="every push acknowledged")

    def _did(self, push: Push) -> None:
        self._last = push
        self._pushes.append(push)

    def _switch(self, name: str) -> None:
        self._user = self._wechat.user(name or "you")
        self._say(f"You are {self._user.name} now.")

    def _redeliver(self) -> None:
        if self._last is None:
            self._say("Nothing was pushed yet.")
        else:
            self._did(self._last.redeliver())

    def _slow(self, seconds: str) -> None:
        try:
            self._wechat.faults.clear()
            if float(seconds) > 0:
                self._wechat.faults.slow("typing", float(seconds))
        except ValueError:
            self._say("/slow takes a number of seconds, such as /slow 2.")


def open_console(say: Callable[[str], None], written: Iterable[str], plugin_folders: str, mode: str, form: str) -> None:
    """Start a bot with the plugins of ``plugin_folders`` and a FakeWeChat, and play what is ``written``, line by line.

    ``mode`` is plain, compatible or safe and ``form`` json or xml. Raises BotDidNotStart.
    """
    clock = RealClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxbot-playground-")))
        wechat = stack.enter_context(FakeWeChat(clock, mode=mode, format=form))  # type: ignore[arg-type]
        settings = {
            **wechat.settings(),
            "WXBOT_STORE_URL": f"sqlite:///{folder / 'wxbot.db'}",
            "WXBOT_PLUGIN_FOLDERS": plugin_folders,
            "WXBOT_CALLBACK_PATH": "/wechat",
        }
        check_bot(settings)
        bot = stack.enter_context(BotProcess(settings, folder / "bot.log"))
        wechat.callback_url = f"{bot.address}/wechat"
        say(f"A WeChat on your desk. The bot listens at {wechat.callback_url}")
        say(f"and writes its log to {folder / 'bot.log'}.\n{HELP}\n")
        say(HEADER)
        began = clock.now()

        def tell(record: Record) -> None:
            told = line(record, began, mode)
            if told is not None:
                say(told)

        wechat.on_record(tell)
        console = Console(wechat, say)
        for text in written:
            if not console.obey(text):
                break
        console.finish()
