"""Several accounts in one deployment: each account has its own bot, and they share no messages, state or tokens."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.plugin.conftest import no_module_is_left
from tests.servers.fixtures import empty_redis, redis_server
from tests.servers.processes import wait_until
from tests.servers.redis_server import RedisServer
from tests.stories.support import Log, asks
from wxbot import Context, Plugin
from wxbot.errors import ConfigError, StoreUnavailable
from wxbot.logs import RedactingFormatter
from wxbot.server.assembly import make_deployment, make_store
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.server.web import create_app
from wxbot.settings.accounts_file import load_accounts
from wxbot.settings.schema import Settings
from wxbot.store.records import ConversationKey
from wxbot.testing import FakeWeChat, User, settings_for
from wxbot.testing.chat import chat, serve_accounts

__all__ = ["empty_redis", "no_module_is_left", "redis_server"]

A_PUSH = {"ToUserName": "gh_0", "FromUserName": "oALICE", "CreateTime": 1700000000, "MsgType": "text", "MsgId": 7}
OPENID = "oTHE_SAME_IN_BOTH_0000000000"


class TwoAccounts:
    """One deployment of two accounts, ``orders`` and ``club``, each with its own FakeWeChat."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.folder = folder
        self._patch = patch
        self._stack = stack
        self.orders = stack.enter_context(FakeWeChat(appid="wx00000000000orders", retry_pause=0))
        self.club = stack.enter_context(FakeWeChat(appid="wx0000000000000club", account_kind="official", retry_pause=0))
        self._has(store_url=f"sqlite:///{folder}/two_accounts.db", lease_seconds="3600")

    @property
    def platforms(self) -> Mapping[str, FakeWeChat]:
        return {"orders": self.orders, "club": self.club}

    def user(self, name: str) -> tuple[User, User]:
        """Return the user with the same openid at both platforms, which never happens at the real WeChat."""
        return self.orders.user(name, OPENID), self.club.user(name, OPENID)

    def settings(self, *, orders: str = "", club: str = "", **environment: str) -> dict[str, Settings]:
        """Return the settings from an accounts file. ``orders`` and ``club``: more lines of the sections."""
        self._has(accounts=str(self.folder / "accounts.toml"), **environment)
        lines = {"orders": orders, "club": club}
        text = "\n".join(self._section(name, lines[name]) for name in lines)
        (self.folder / "accounts.toml").write_text(text, encoding="utf-8")
        return load_accounts(env_file=None)

    def opens(self, accounts: Mapping[str, Settings], **plugins: Plugin) -> Deployment:
        """Serve the deployment, and let both platforms push to it."""
        given = {name: [plugin] for name, plugin in plugins.items()}
        deployment = make_deployment(accounts, plugins=given)
        addresses = self._stack.enter_context(serve_accounts(deployment))
        for name, platform in self.platforms.items():
            platform.callback_url = addresses[name]
        return deployment

    def opens_with_counting_plugins(self, accounts: Mapping[str, Settings] | None = None) -> Deployment:
        plugins = {"orders": counting_plugin("order"), "club": counting_plugin("hurrah")}
        return self.opens(self.settings() if accounts is None else accounts, **plugins)

    def not_started(self) -> Deployment:
        plugin = counting_plugin("order")
        return make_deployment(self.settings(), plugins={"orders": [plugin], "club": [plugin]})

    def _section(self, name: str, lines: str) -> str:
        given = self.platforms[name].settings()
        for key in ("SECRET", "TOKEN", "AES_KEY"):
            self._patch.setenv(f"{name}_{key}".upper(), given[f"WXBOT_{key}"])
        section = f"""
            [{name}]
            appid = "{given["WXBOT_APPID"]}"
            kind = "{given.get("WXBOT_ACCOUNT_KIND", "miniprogram")}"
            api_base = "{given["WXBOT_API_BASE"]}"
            secret = "${{{name.upper()}_SECRET}}"
            token = "${{{name.upper()}_TOKEN}}"
            aes_key = "${{{name.upper()}_AES_KEY}}"
            typing = false
        """
        return section + lines

    def _has(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(f"WXBOT_{name.upper()}", value)


@pytest.fixture
def two_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoAccounts]:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        yield TwoAccounts(tmp_path, monkeypatch, stack)


def counting_plugin(sound: str) -> Plugin:
    """Return a plugin that replies ``sound`` and the number of the user's messages."""
    plugin = Plugin("counting_plugin")

    @plugin.fallback
    async def answer(ctx: Context) -> str:
        ctx.state["times"] = ctx.state.get("times", 0) + 1
        return f"{sound} {ctx.text} {ctx.state['times']}"

    return plugin


def test_each_account_answers_with_its_own_plugins(two_accounts: TwoAccounts) -> None:
    two_accounts.opens_with_counting_plugins()
    alice, bob = two_accounts.orders.user("alice"), two_accounts.club.user("bob")
    alice.says("42")
    bob.says("hi")
    alice.waits_for("order 42 1")
    bob.waits_for("hurrah hi 1")
    assert [alice.saw, bob.saw] == [["order 42 1"], ["hurrah hi 1"]]
    for platform in two_accounts.platforms.values():
        assert platform.violations == []
        assert platform.verify()
        assert platform.token_fetches == 1


def test_the_same_openid_in_two_accounts_is_two_users(two_accounts: TwoAccounts) -> None:
    accounts = two_accounts.settings(club='quota = { message = "1/48h" }')
    two_accounts.opens_with_counting_plugins(accounts)
    at_orders, at_club = two_accounts.user("alice")
    asks(at_orders, "one", "order one 1")
    asks(at_orders, "two", "order two 2")
    asks(at_club, "one", "hurrah one 1")
    assert at_orders.saw == ["order one 1", "order two 2"]
    assert at_club.saw == ["hurrah one 1"]
    left = {name: quota_of(settings) for name, settings in accounts.items()}
    assert left == {"orders": 4, "club": 0}


def quota_of(settings: Settings) -> int:
    """Return the remaining quota of the user with OPENID."""
    store = make_store(settings)
    store.open()
    try:
        quota = asyncio.run(store.quota(ConversationKey(settings.appid, OPENID)))
    finally:
        store.close()
    assert quota is not None
    return quota.remaining


def test_a_push_to_the_path_of_another_account_is_refused(two_accounts: TwoAccounts) -> None:
    deployment = two_accounts.opens_with_counting_plugins()
    client = create_app(deployment).test_client()
    alice = two_accounts.orders.user("alice")
    query, sealed = two_accounts.orders.envelope({**A_PUSH, "FromUserName": alice.openid})
    for path, status in (("/wechat/club", 403), ("/wechat", 404), ("/wechat/shop", 404)):
        assert client.post(path, query_string=query, data=sealed).status_code == status
    two_accounts.orders.callback_url = two_accounts.club.callback_url
    assert not two_accounts.orders.verify()
    assert alice.saw == []


def test_a_lost_token_does_not_affect_the_other_account(two_accounts: TwoAccounts) -> None:
    two_accounts.opens_with_counting_plugins()
    at_orders, at_club = two_accounts.user("alice")
    at_orders.says("one")
    at_club.says("one")
    at_orders.waits_for("order one 1")
    at_club.waits_for("hurrah one 1")
    two_accounts.orders.faults.revoke_token()
    two_accounts.orders.faults.hang("token")
    at_orders.says("two")
    asks(at_club, "two", "hurrah two 2")
    assert at_orders.saw == ["order one 1"]
    assert two_accounts.club.token_fetches == 1
    two_accounts.orders.close()  # otherwise the deployment would wait for WeChat's response when it stops


def test_send_requires_the_key_of_the_account(two_accounts: TwoAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_SEND_KEY", "key-of-orders-0123456789")
    accounts = two_accounts.settings(orders='send_key = "${ORDERS_SEND_KEY}"')
    deployment = two_accounts.opens_with_counting_plugins(accounts)
    at_orders, at_club = two_accounts.user("alice")
    for user, heard in ((at_orders, "order hi 1"), (at_club, "hurrah hi 1")):
        user.says("hi")
        user.waits_for(heard)
    client = create_app(deployment).test_client()
    body = json.dumps({"touser": OPENID, "msgtype": "text", "text": {"content": "your parcel is here"}})
    key = {"Authorization": "Bearer key-of-orders-0123456789"}
    assert client.post("/send/orders", data=body, headers=key).status_code == 202
    at_orders.waits_for("your parcel is here")
    assert client.post("/send/orders", data=body).status_code == 401
    assert client.post("/send/club", data=body, headers=key).status_code == 404
    assert client.post("/send", data=body, headers=key).status_code == 404
    assert at_club.saw == ["hurrah hi 1"]


# Plugins


COUNTER = """
from wxbot import Context, Plugin

heard: list[str] = []
plugin = Plugin("counter")

@plugin.fallback
def count(ctx: Context) -> str:
    from . import words  # imported at the first call, by the name of the module
    heard.append(ctx.text)
    words.texts.append(ctx.text)
    return f"{len(heard)} {len(words.texts)}"
"""


def test_two_accounts_load_the_same_plugin_separately(two_accounts: TwoAccounts) -> None:
    package = two_accounts.folder / "plugins" / "counter"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(COUNTER, encoding="utf-8")
    (package / "words.py").write_text("texts: list[str] = []\n", encoding="utf-8")
    two_accounts.opens(two_accounts.settings())
    at_orders, at_club = two_accounts.user("alice")
    asks(at_orders, "one", "1 1")
    asks(at_club, "one", "1 1")
    asks(at_orders, "two", "2 2")


GREETER = """
from dataclasses import dataclass
from wxbot import Context, Plugin

@dataclass
class Words:
    greeting: str = "hello"
    times: int = 1

plugin = Plugin("greeter", settings=Words)

@plugin.fallback
def greet(ctx: Context) -> str:
    return " ".join([ctx.settings.greeting] * ctx.settings.times)
"""


@pytest.fixture
def greeter(two_accounts: TwoAccounts) -> Path:
    folder = two_accounts.folder / "plugins"
    folder.mkdir()
    (folder / "greeter.py").write_text(GREETER, encoding="utf-8")
    others = two_accounts.folder / "others"
    others.mkdir()
    (others / "echo.py").write_text(GREETER.replace('"greeter"', '"echo"'), encoding="utf-8")
    return folder


def test_an_account_overrides_plugin_settings(two_accounts: TwoAccounts, greeter: Path) -> None:
    accounts = two_accounts.settings(
        orders='[orders.plugin_settings.greeter]\ngreeting = "good day"',
        plugin_greeter_times="2",
        plugin_greeter_greeting="hi",
    )
    two_accounts.opens(accounts)
    at_orders, at_club = two_accounts.user("alice")
    at_orders.says("x")
    at_club.says("x")
    at_orders.waits_for("good day good day")
    at_club.waits_for("hi hi")


def test_plugin_problems_of_all_accounts_are_reported_together(two_accounts: TwoAccounts, greeter: Path) -> None:
    accounts = two_accounts.settings(
        orders='[orders.plugin_settings.greter]\ngreeting = "x"\n[orders.plugin_settings.greeter]\ntimes = "often"',
        club='plugin_folders = ["others"]\nplugins = ["greeter"]',
    )
    with pytest.raises(ConfigError) as refused:
        make_deployment(accounts)
    assert refused.value.problems == (
        "[orders] plugin_settings.greter.greeting is a setting of no plugin that was found; "
        "did you mean plugin_settings.greeter.greeting?",
        "[orders] plugin_settings.greeter.times: Input should be a valid integer, unable to parse string as an integer",
        "[club] plugins: there is no plugin 'greeter' (found: echo)",
    )


def test_a_plugin_setting_that_one_account_reads_is_accepted(two_accounts: TwoAccounts, greeter: Path) -> None:
    others = 'plugin_folders = ["others"]'
    accounts = two_accounts.settings(club=others, plugin_greeter_times="2", plugin_echo_times="3")
    assert list(make_deployment(accounts).bots) == ["orders", "club"]
    accounts = two_accounts.settings(club=others, plugin_greeter_tims="2")
    with pytest.raises(ConfigError) as refused:
        make_deployment(accounts)
    assert refused.value.problems == (
        "WXBOT_PLUGIN_GREETER_TIMS is a setting of no plugin that was found; did you mean WXBOT_PLUGIN_GREETER_TIMES?",
    )


# Start and stop


def loops() -> int:
    """Return the number of bots that run."""
    return [thread.name for thread in threading.enumerate()].count("wxbot-loop")


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


@contextmanager
def replaced(bot: Bot, name: str, by: Callable[..., None]) -> Iterator[None]:
    works = getattr(bot, name)
    setattr(bot, name, by)
    try:
        yield
    finally:
        setattr(bot, name, works)


def test_after_a_failed_start_no_bot_runs(two_accounts: TwoAccounts) -> None:
    deployment = two_accounts.not_started()
    with replaced(deployment.bots["club"], "start", raising(StoreUnavailable("the disk is full"))):
        with pytest.raises(StoreUnavailable, match=r"^\[club\] the disk is full$"):
            deployment.start()
        assert loops() == 0
    for path in ("/wechat/orders", "/wechat/club", "/metrics", "/readyz"):
        create_app(deployment).test_client().get(path)
        assert loops() == 0
    for name, platform in two_accounts.platforms.items():  # a push does not start the bot either
        query, body = platform.envelope(A_PUSH)
        pushed = create_app(deployment).test_client().post(f"/wechat/{name}", query_string=query, data=body)
        assert pushed.status_code == 500
    assert loops() == 0
    assert deployment.start_again()
    try:
        assert deployment.problem() is None
    finally:
        deployment.stop(0)


def test_a_stop_during_the_start_ends_the_start(two_accounts: TwoAccounts) -> None:
    deployment = two_accounts.not_started()
    entered, go_on, failures = threading.Event(), threading.Event(), []
    start_orders = deployment.bots["orders"].start

    def start_slowly() -> None:
        entered.set()
        assert go_on.wait(20)
        start_orders()

    def start() -> None:
        try:
            deployment.start()
        except StoreUnavailable as error:
            failures.append(str(error))

    with replaced(deployment.bots["orders"], "start", start_slowly):
        starting = threading.Thread(target=start)
        starting.start()
        assert entered.wait(20)
        stopping = threading.Thread(target=deployment.stop, args=(0,))
        stopping.start()
        wait_until(lambda: deployment._start_request is None, "stop is called")
        go_on.set()
        starting.join(20)
        stopping.join(20)
    assert failures == ["[club] the bot was stopped while it started"]
    assert loops() == 0
    assert not deployment.start_again(), "only start() starts the bots after stop()"
    assert loops() == 0
    deployment.start()
    assert deployment.problem() is None
    deployment.stop(0)


def test_gunicorn_starts_again_until_the_worker_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("gunicorn_conf", Path(__file__).parents[2] / "gunicorn.conf.py")
    assert spec is not None
    assert spec.loader is not None
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    monkeypatch.setattr(conf, "START_PAUSE", 0)
    failures = [StoreUnavailable("out"), StoreUnavailable("out")]

    class Deployed:
        def start_again(self) -> bool:
            if failures:
                raise failures.pop()
            return False

    conf._keep_starting(Deployed(), SimpleNamespace(alive=True))
    assert failures == []


def test_a_bot_that_fails_to_stop_does_not_keep_others_running(
    two_accounts: TwoAccounts, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = two_accounts.not_started()
    deployment.start()
    with replaced(deployment.bots["orders"], "stop", raising(RuntimeError("stuck"))):
        deployment.stop(0)
    assert "bot of this account failed to stop" in caplog.text
    assert loops() == 1
    deployment.stop(0)


def test_all_accounts_finish_their_handlers_at_the_same_time(two_accounts: TwoAccounts) -> None:
    """Let each handler end only when both bots are being stopped."""
    busy = threading.Barrier(2)
    plugins = {}
    for name in two_accounts.platforms:
        plugins[name] = plugin = Plugin("slow")

        @plugin.fallback
        def wait(ctx: Context) -> str:
            entered.release()
            assert stopping.wait(20)
            return "done"

    entered, stopping = threading.Semaphore(0), threading.Event()
    deployment = two_accounts.opens(two_accounts.settings(), **plugins)
    users = two_accounts.user("alice")
    for user in users:
        user.says("go")
    for _ in users:
        assert entered.acquire(timeout=10)
    for bot in deployment.bots.values():
        together(bot, busy, stopping)
    deployment.stop(20)
    for user in users:
        user.waits_for("done")


def together(bot: Bot, all_stopping: threading.Barrier, then: threading.Event) -> None:
    """Let ``bot.stop`` wait until all bots are being stopped, and set ``then``."""
    stop = bot.stop

    def stop_with_all(seconds: float | None = None) -> None:
        all_stopping.wait(10)
        then.set()
        stop(seconds)

    bot.stop = stop_with_all  # type: ignore[method-assign]


def test_readiness_names_the_account_that_has_a_problem(two_accounts: TwoAccounts) -> None:
    deployment = two_accounts.opens_with_counting_plugins()
    client = create_app(deployment).test_client()
    assert client.get("/readyz").status_code == 200
    assert client.get("/metrics").status_code == 404
    deployment.bots["club"].stop(0)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "club: the message store is unavailable")


def test_a_deployment_without_accounts_is_refused() -> None:
    with pytest.raises(ConfigError):
        make_deployment({})


# Log lines


@pytest.fixture
def lines(log: Log) -> Log:
    """Return the log lines as they are written, with the name of the account."""
    log.setFormatter(RedactingFormatter([]))
    log.line_of = lambda record: log.format(record).partition(" wxbot.")[2]
    return log


def logging_plugin(where: str = "in the loop") -> Plugin:
    plugin = Plugin("talk")

    def answer(ctx: Context) -> str:
        logging.getLogger("wxbot.test").info("asked for %s", ctx.text)
        return "well"

    async def answer_in_the_loop(ctx: Context) -> str:
        return answer(ctx)

    plugin.fallback(answer_in_the_loop if where == "in the loop" else answer)
    return plugin


@pytest.mark.parametrize("where", ["in the loop", "in a thread"])
def test_every_log_line_names_its_account(two_accounts: TwoAccounts, lines: Log, where: str) -> None:
    deployment = two_accounts.opens(two_accounts.settings(), orders=logging_plugin(where), club=logging_plugin(where))
    at_orders, at_club = two_accounts.user("alice")
    asks(at_orders, "tea", "well")
    asks(at_club, "coffee", "well")
    assert "test: [orders] asked for tea" in lines.lines
    assert "test: [club] asked for coffee" in lines.lines
    client = create_app(deployment).test_client()
    client.post("/wechat/orders")
    assert any(line.startswith("web: [orders] request refused") for line in lines.lines)
    deployment.bots["club"].stop(0)
    client.get("/readyz")
    assert "bot: [club] not ready: the bot is not running: it is stopping, or it could not start" in lines.lines


def test_log_lines_of_a_single_account_name_no_account(lines: Log, tmp_path: Path) -> None:
    with FakeWeChat() as wechat:
        deployment = make_deployment({"": settings_for(wechat, tmp_path / "one.db")}, plugins={"": [logging_plugin()]})
        with serve_accounts(deployment) as addresses:
            wechat.callback_url = addresses[""]
            assert wechat.callback_url.endswith("/wechat")
            alice = wechat.user("alice")
            asks(alice, "tea", "well")
            create_app(deployment).test_client().post("/wechat")
    assert "test: asked for tea" in lines.lines
    assert any(line.startswith("web: request refused") for line in lines.lines)


@pytest.mark.parametrize("kind", ["official", "unverified"])
def test_chat_accepts_every_account_kind(kind: str) -> None:
    with chat(counting_plugin("order"), account_kind=kind, typing=False) as alice:
        asks(alice, "42", "order 42 1")


# Several machines


def test_workers_process_messages_of_all_accounts(
    two_accounts: TwoAccounts, empty_redis: RedisServer, lines: Log
) -> None:
    addresses = {"store_url": empty_redis.url, "broker_url": empty_redis.url, "lease_seconds": "2"}
    # Polling is too slow to find a message in time, so each answered message had a wake-up.
    accounts = two_accounts.settings(**addresses, poll_seconds="600")
    two_accounts.opens(accounts, orders=logging_plugin(), club=logging_plugin())
    workers = two_accounts.settings(**addresses, poll_seconds="600", role="worker")
    worker = make_deployment(workers, plugins={"orders": [logging_plugin()], "club": [logging_plugin()]})
    worker.start()
    try:
        wait_until(lambda: worker.problem() is None, "the worker is ready")
        assert create_app(worker).test_client().post("/wechat/orders").status_code == 404
        at_orders, at_club = two_accounts.user("alice")
        at_orders.says("tea")
        at_club.says("coffee")
        at_orders.waits_for("well")
        at_club.waits_for("well")
    finally:
        worker.stop(0)
    assert "test: [orders] asked for tea" in lines.lines
    assert "test: [club] asked for coffee" in lines.lines
