"""Test a plugin: ``chat`` runs it in a real bot behind FakeWeChat, ``context`` is for calling one handler directly.

``wechat_for`` returns the FakeWeChat, for tests with several users, human agents or faults.

::

    def test_order_status():
        with chat(plugin) as user:
            user.says("order 42")
            user.waits_for("Order 42 is on its way.")
            assert user.saw == ["Typing", "CancelTyping", "Order 42 is on its way."]

    async def test_handler():
        assert await status(context("order 42", plugin=plugin)) == "Order 42 is on its way."
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from wxbot.clock import Clock
from wxbot.model.messages import Message, TextMessage
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Plugin
from wxbot.server.assembly import make_bot, make_plugins
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.server.web import create_app
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import Settings
from wxbot.testing.cloud import FakeCloud
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.fake import FakeWeChat
from wxbot.testing.user import User

LEASE_SECONDS = "3600"
"""The lease duration is long because a test may advance its clock faster than the store renews a short lease."""


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's own name
        """Log nothing, because FakeWeChat records every request."""


@contextmanager
def serve(bot: Bot) -> Iterator[str]:
    """Start ``bot``, serve it on a free port of 127.0.0.1, and yield its callback URL. Stop it at the end."""
    with _serving(Deployment({"": bot})) as address:
        yield address + (bot.callback_path or "")


@contextmanager
def serve_accounts(deployment: Deployment) -> Iterator[Mapping[str, str]]:
    """Serve all bots of ``deployment`` on one port as ``serve`` does. Yield the callback URLs by account name."""
    with _serving(deployment) as address:
        yield {name: address + (bot.callback_path or "") for name, bot in deployment.bots.items()}


@contextmanager
def _serving(deployment: Deployment) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, create_app(deployment), threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="chat-server", daemon=True)
    thread.start()
    try:
        deployment.start()
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        deployment.stop(seconds=0)


def settings_for(wechat: FakeWeChat | FakeCloud, store: Path, **choices: Any) -> Settings:
    """Return the settings of a bot that calls ``wechat`` and has its store in the file ``store``.

    ``choices`` are settings by name. The settings for a ``FakeCloud`` are those of the account that owns it.
    """
    given = {name.removeprefix("WXBOT_").lower(): value for name, value in wechat.settings().items()}
    given |= {"store_url": f"sqlite:///{store}", "lease_seconds": LEASE_SECONDS, "accounts": ""}
    return load_settings(env_file=None, **{**given, **choices})


@contextmanager
def wechat_for(
    *plugins: Plugin,
    clock: Clock | None = None,
    mode: Mode = "safe",
    format: Format = "xml",  # noqa: A002 (as in FakeWeChat)
    **choices: Any,
) -> Iterator[FakeWeChat]:
    """Run a bot with ``plugins`` behind a FakeWeChat, and yield the FakeWeChat. Webhook, store and HTTP are real.

    Without ``plugins`` the bot loads them from its folders: ``chat(plugin_folders="plugins", plugins="echo,faq")``.
    ``clock`` may be a ManualClock. ``mode`` and ``format`` are those of the pushes. ``choices`` are settings,
    such as ``handler_timeout=5``. ``account_kind`` also sets the kind of the simulated account.
    """
    kind = choices.get("account_kind", "miniprogram")
    with (
        tempfile.TemporaryDirectory(prefix="wxbot-chat-") as folder,
        FakeWeChat(clock, mode=mode, format=format, account_kind=kind) as wechat,
    ):
        settings = settings_for(wechat, Path(folder) / "chat.db", **choices)
        bot = make_bot(settings, plugins=plugins or None, clock=clock)
        with serve(bot) as address:
            wechat.callback_url = address
            yield wechat


@contextmanager
def chat(
    *plugins: Plugin,
    name: str = "user",
    clock: Clock | None = None,
    mode: Mode = "safe",
    format: Format = "xml",  # noqa: A002 (as in FakeWeChat)
    **choices: Any,
) -> Iterator[User]:
    """Run a bot with ``plugins`` and yield its user ``name``. The other arguments are those of ``wechat_for``."""
    with wechat_for(*plugins, clock=clock, mode=mode, format=format, **choices) as wechat:
        yield wechat.user(name)


def context(message: str | Message, *, plugin: Plugin | None = None, state: dict[str, Any] | None = None) -> Context:
    """Return a context for ``message`` (a ``str`` is a text message), for a unit test of a handler.

    With ``plugin`` the context has what the plugin's router adds: the match, the settings and the resource.
    """
    if isinstance(message, str):
        message = TextMessage(
            appid="wx0", openid="oUSER", account="gh_0", created_at=0, received_at=0.0, msg_id="1", text=message
        )
    made = Context(message=message, plugin=plugin.name if plugin else "test", state=state or {})
    if plugin is None:
        return made
    settings = load_settings(env_file=None, accounts="", appid="wx0", secret="-", token="-")  # noqa: S106 - never sent
    chosen = make_plugins(settings.accounts[""], [plugin])
    made.settings, made.resource = chosen.settings.get(plugin.name), chosen.resources[plugin.name]
    choice = chosen.router.choose(lambda _: made)
    return made if choice is None else choice.context
