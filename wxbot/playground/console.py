"""The console of the playground: send messages as a user and see the events of the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wxbot.playground.replay.timeline import HEADER, record_printer
from wxbot.playground.session import AccountChoice, Credentials, LocalBot, session_with
from wxbot.testing import FakeWeChat, Push, User
from wxbot.testing.envelope import Format, Mode

HELP = """\
Type a message and press Enter: it is pushed to the bot. Every push and call is printed here.
  /user NAME        switch to another user       /image            send an image
  /enter [FROM]     enter the session            /event NAME       send an event
  /again            redeliver the last push
  /busy | /error | /drop   the next send fails: errcode -1, HTTP 500, connection dropped
  /slow SECONDS     delay typing calls (0: clear all faults)       /revoke           revoke the access token
  /seen             list what this user has seen /help  /quit"""


class Console:
    """A console that acts as the users of one account."""

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

    def run(self, written: str) -> bool:
        """Run one line of input. Return False to quit."""
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
            self._say(f"Unknown command /{name}. /help lists all commands.")
        else:
            command(argument.strip())
        return True

    def finish(self) -> None:
        """Wait until every push was acknowledged."""
        if self._last is not None:
            self._wechat.waits_until(lambda: all(push.done for push in self._pushes), why="every push acknowledged")

    def _did(self, push: Push) -> None:
        self._last = push
        self._pushes.append(push)

    def _switch(self, name: str) -> None:
        self._user = self._wechat.user(name or "you")
        self._say(f"You are now {self._user.name}.")

    def _redeliver(self) -> None:
        if self._last is None:
            self._say("No push to redeliver yet.")
        else:
            self._did(self._last.redeliver())

    def _slow(self, seconds: str) -> None:
        try:
            self._wechat.faults.clear()
            if float(seconds) > 0:
                self._wechat.faults.slow("typing", float(seconds))
        except ValueError:
            self._say("/slow needs a number of seconds, such as /slow 2.")


def open_console(
    say: Callable[[str], None], lines: Iterable[str], plugin_folders: str, mode: Mode, form: Format
) -> None:
    """Start a bot with the plugins in ``plugin_folders`` and a simulated platform, and run each of ``lines``."""
    bot = LocalBot(plugin_folders)
    with session_with(bot, AccountChoice(mode=mode, form=form), Credentials()) as session:
        bot.serve(session.wechat, session.clock, session.folder)
        say(f"Local WeChat simulator (Playground). Callback URL of the bot: {session.wechat.callback_url}")
        say(f"Bot log: {session.folder / 'bot.log'}\n{HELP}\n")
        say(HEADER)
        session.wechat.on_record(record_printer(say, session.clock.now(), mode))
        console = Console(session.wechat, say)
        for text in lines:
            if not console.run(text):
                break
        console.finish()
