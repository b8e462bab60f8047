"""Sessions with a bot in another process: a local bot under gunicorn, or an external one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.playground.page_support import PLAIN, InProcessBot, PageClient, client_for, echoing
from tests.servers.processes import Port
from tests.testing.bot import Receiver
from wxbot.cli.main import main
from wxbot.errors import ConfigError, PluginError, WxbotError
from wxbot.playground.bot_process import BotDidNotStart
from wxbot.playground.command import bot_for
from wxbot.playground.page.playground import Playground
from wxbot.playground.page.server import PageServer
from wxbot.playground.session import (
    APPID,
    AccountChoice,
    BotDidNotAnswer,
    BotUnderTest,
    ConflictingKey,
    Credentials,
    ExternalBot,
    LocalBot,
    Session,
    session_with,
    switch_mode,
)
from wxbot.server.assembly import make_bot
from wxbot.testing import FakeWeChat, serve, settings_for

ROOT = Path(__file__).parents[2]
TRIAL = '''
"""Replies at once, later, or never."""

import asyncio
import os
import re

from wxbot import Context, Plugin

plugin = Plugin("trial")


@plugin.text(re.compile("^slow ([0-9.]+)$"))
async def slow(ctx: Context) -> str:
    await asyncio.sleep(float(ctx.match[1]))
    return "late"


@plugin.text("crash")
async def crash(ctx: Context) -> None:
    os._exit(3)


@plugin.fallback
async def echo(ctx: Context) -> str:
    return ctx.text
'''
STORY = """\
wxbot-transcript: 1
mode: plain
steps:
- amy says: hi
- amy sees: [Typing, CancelTyping, hi]
"""


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "trial.py").write_text(TRIAL)
    return str(folder)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the folder of a bot and make it current. The bot has one worker, which starts faster than two."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    for name in [name for name in os.environ if name.startswith(("WXBOT_", "TARGET_"))]:
        monkeypatch.delenv(name)
    return folder


@contextmanager
def served(bot: BotUnderTest, choice: AccountChoice = PLAIN) -> Iterator[Session]:
    """Run a session and serve the bot in it. Raises the error of a bot that does not start; it is not up then."""
    with session_with(bot, choice, Credentials()) as session:
        try:
            bot.serve(session.wechat, session.clock, session.folder)
        except WxbotError:
            assert not bot.is_up
            raise
        yield session


def processes_about(folder: Path) -> list[str]:
    """Return the processes whose settings contain this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and str(folder).encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


# -- the local bot


def test_a_local_bot_starts_replies_and_leaves_nothing_behind(
    project: Path, plugins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY")  # with as many workers as it has in production
    bot = LocalBot(plugins)
    assert (bot.is_up, bot.log(0)) == (False, ("", 0))
    with served(bot, AccountChoice()) as session:
        assert bot.is_up
        alice = session.wechat.user("alice")
        alice.says("你好")
        alice.waits_for("你好")
        sealed = next(record for record in alice.timeline if record.kind == "push").exchange
        assert sealed is not None
        assert sealed.clear is not None

        before = session.wechat.callback_url
        switch_mode(bot, session.wechat, "plain", "xml")
        assert session.wechat.callback_url != before
        alice.says("in plain words")
        alice.waits_for("in plain words")
        assert {record.outcome for record in alice.timeline if record.kind == "push"} == {"success"}

        text, end = bot.log(0)
        assert text
        assert bot.log(end) == ("", end)
        assert session.wechat.settings()["WXBOT_SECRET"] not in text
    assert (bot.is_up, processes_about(session.folder)) == (False, [])


def test_a_clock_advance_reaches_the_bot_process(project: Path, plugins: str) -> None:
    with served(LocalBot(plugins)) as session:
        alice = session.wechat.user("alice")
        for _ in range(2):
            alice.says("slow 1.5")
            alice.waits_until_typing()
            calls = len(alice.calls)
            session.clock.advance(31)
            alice.waits_for(lambda seen: seen == "late", times=alice.saw.count("late") + 1)
            assert "Typing" not in [record.what for record in alice.calls[calls:]]
        assert session.wechat.violations == []


def test_an_exited_bot_is_not_up(project: Path, plugins: str) -> None:
    bot = LocalBot(plugins)
    with served(bot) as session:
        bot._process._process.terminate()  # type: ignore[union-attr]
        bot._process._process.wait(60)  # type: ignore[union-attr]
        assert not bot.is_up
        bot.restart(session.wechat)
        assert bot.is_up


def test_a_key_in_env_conflicts_with_plaintext_mode(project: Path, plugins: str) -> None:
    bot = LocalBot(plugins)
    with served(bot, AccountChoice()) as session:
        (project / ".env").write_text(f"WXBOT_AES_KEY={'k' * 43}\n")
        with pytest.raises(ConflictingKey):
            switch_mode(bot, session.wechat, "plain", "xml")
        assert (session.wechat.mode, session.wechat.format) == ("safe", "json")
    with pytest.raises(ConflictingKey, match=r"\.env sets WXBOT_AES_KEY"), served(bot):
        pass


@pytest.mark.parametrize("source", ["plugin = 1 +", "raise RuntimeError('no')"])
def test_a_broken_plugin_is_reported(project: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(PluginError, match=r"broken\.py"), served(LocalBot(str(tmp_path))):
        pass


def test_an_invalid_setting_is_reported(project: Path, plugins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WXBOT_HANDLER_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="WXBOT_HANDLER_TIMEOUT"), served(LocalBot(plugins)):
        pass


def test_a_folder_without_wsgi_is_reported(tmp_path: Path, plugins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BotDidNotStart, match=r"no wsgi\.py"), served(LocalBot(plugins)):
        pass


# -- an external bot


GIVEN = Credentials("wx99", "s" * 32, "given-token", "a" * 42 + "A")


def test_an_external_bot_with_the_same_settings_replies(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bot = ExternalBot("")
        session = stack.enter_context(session_with(bot, AccountChoice(), GIVEN))
        assert session.wechat.appid == "wx99"
        settings = session.wechat.settings()
        assert (settings["WXBOT_SECRET"], settings["WXBOT_TOKEN"], settings["WXBOT_AES_KEY"]) == (
            GIVEN.secret,
            GIVEN.token,
            GIVEN.aes_key,
        )
        near = make_bot(settings_for(session.wechat, tmp_path / "bot.db"), plugins=[echoing()])
        bot.target = stack.enter_context(serve(near))
        bot.serve(session.wechat, session.clock, session.folder)
        assert bot.is_up
        alice = session.wechat.user("alice")
        alice.says("hi")
        alice.waits_for("hi")
        assert bot.log(0) == ("", 0)


def why_not(target: str) -> str:
    """Return the error for a bot that is not verified."""
    with pytest.raises(BotDidNotAnswer) as caught, served(ExternalBot(target)):
        pass
    return str(caught.value).removeprefix(f"{target} ")


def test_an_unreachable_target_is_reported() -> None:
    with Receiver() as gone:
        target = gone.url
    assert why_not(target) == "cannot be reached (ClientConnectorError): is the bot running?"


WRONG_ANSWERS = [
    ((403, b""), "is the Token the same on both sides?"),
    ((200, b"success"), "check the callback URL"),
    ((500, b"oops"), "answered with HTTP 500"),
    ((302, b""), "answered with HTTP 302"),
    ((404, b""), "404"),
]


@pytest.mark.parametrize(("answer", "words"), WRONG_ANSWERS)
def test_a_failed_verification_is_reported(answer: tuple[int, bytes], words: str) -> None:
    with Receiver(lambda received: answer) as receiver:
        assert words in why_not(receiver.url)
    assert [received.method for received in receiver.received] == ["GET"]


@pytest.mark.parametrize("target", ["8000", "127.0.0.1:8000/wechat", "ftp://127.0.0.1/", "http:///wechat", "wechat"])
def test_an_invalid_callback_url_is_refused(target: str) -> None:
    with pytest.raises(Exception, match="is not a callback URL: use one like"):
        bot_for(target, "")


def test_without_a_target_the_bot_is_local() -> None:
    own = bot_for("", "plugins")
    assert (own.target, own.plugins) == ("", "plugins")
    assert bot_for("http://127.0.0.1:1/wechat", "plugins").target == "http://127.0.0.1:1/wechat"


def test_an_external_bot_may_start_later(tmp_path: Path) -> None:
    port = Port()
    bot = ExternalBot(f"http://127.0.0.1:{port}/wechat")
    playground = Playground(bot, AccountChoice(mode="plain"), GIVEN, tmp_path)
    with ExitStack() as stack:
        stack.callback(playground.close)
        server = stack.enter_context(PageServer(playground, "127.0.0.1", 0))
        client = PageClient(playground, server, InProcessBot())
        with pytest.raises(BotDidNotAnswer):
            playground.start()
        with client.opens() as page:
            data = page.next().data["bot"]
            assert (data["state"], data["target"]) == ("down", bot.target)
            assert "is the bot running?" in data["problem"]
            assert client.post("/bot/restart").status == 422
            near = make_bot(settings_for(client.wechat, tmp_path / "bot.db"), plugins=[echoing()])
            bot.target = stack.enter_context(serve(near))
            client.done("/bot/restart")
            page.until("bot", lambda data: data["state"] == "up" and not data["problem"])
        alice = client.adds("alice")
        client.lets(alice, "says", text="hi")
        alice.waits_for("hi")


# -- the start of a session


@pytest.mark.parametrize(
    ("choice", "form"),
    [
        (AccountChoice("miniprogram", "safe", "json"), "json"),
        (AccountChoice("official", "safe", "json"), "xml"),
        (AccountChoice("unverified", "plain", "json"), "xml"),
        (AccountChoice("official", "plain", "xml"), "xml"),
    ],
)
def test_every_account_kind_gets_a_valid_format(choice: AccountChoice, form: str) -> None:
    with session_with(LocalBot(""), choice, Credentials()) as session:
        assert (session.wechat.format, session.wechat.appid) == (form, APPID)
        assert session.now >= 0


def test_secrets_are_not_in_the_repr() -> None:
    assert not any(value in repr(GIVEN) for value in (GIVEN.secret, GIVEN.token, GIVEN.aes_key))


def test_the_api_listens_on_the_given_port() -> None:
    port = Port()
    with session_with(LocalBot(""), AccountChoice(), Credentials(api_port=int(port))) as session:
        assert session.wechat.api_base == f"http://127.0.0.1:{port}"


def test_consecutive_sessions_leave_no_threads(tmp_path: Path) -> None:
    with client_for(tmp_path) as client:
        client.done("/account", {"kind": "official"})
        threads = threading.active_count()
        for kind in ("miniprogram", "unverified", "official"):
            client.done("/account", {"kind": kind})
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("fake-wechat")]
        assert len(left) == 1
        assert threading.active_count() <= threads + 5


# -- the command


def simulate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("WXBOT_", "TARGET_"))}
    return subprocess.run(
        [sys.executable, "-m", "wxbot", "playground", *words],
        cwd=folder,
        env={**bare, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def refusal(project: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Run the command with options that it refuses before it starts anything. Return the error text."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def refused(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["playground", *words])
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        assert "Traceback" not in said.err
        return said.err

    yield refused
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_command_replays_a_transcript(project: Path, plugins: str) -> None:
    story = project / "story.yaml"
    story.write_text(STORY)
    said = simulate(project, "--play", "story.yaml", "--plugins", plugins)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == "story.yaml: PASS: 2 steps\n"
    story.write_text(STORY.replace("CancelTyping, hi", "CancelTyping, bye"))
    said = simulate(project, "--play", "story.yaml", "--plugins", plugins)
    assert said.returncode == 1
    assert "story.yaml: FAIL: replies differ" in said.stdout
    assert '"bye"' in said.stdout
    assert not list(project.glob("wxbot-playground-*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "story.yaml cannot be read"),
        (b"wxbot-transcript: 1\nsteps:\n- amy dances: now\n", "story.yaml, line 3"),
        (b"\xff\xfe", "save it as UTF-8"),
    ],
)
def test_an_unusable_transcript_is_reported(
    refusal: Callable[..., str], project: Path, plugins: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (project / "story.yaml").write_bytes(content)
    said = refusal("--play", "story.yaml", "--plugins", plugins)
    assert said.startswith("wxbot: ")
    assert words in said


@pytest.mark.parametrize(
    "words",
    [
        *("--play x.yaml --demo", "--console --demo", "--play x.yaml --port 8080", "--secret x", "--target nonsense"),
        "--target http://127.0.0.1:1/wechat --plugins plugins",
    ],
)
def test_conflicting_options_are_refused(refusal: Callable[..., str], words: str) -> None:
    assert refusal(*words.split())


def test_a_transcript_can_be_replayed_to_a_target(project: Path, tmp_path: Path) -> None:
    (project / "story.yaml").write_text(STORY)
    port = Port()
    with FakeWeChat(appid="wx99", secret=GIVEN.secret, token=GIVEN.token, mode="plain") as stand_in:
        settings = settings_for(stand_in, tmp_path / "bot.db", api_base=f"http://127.0.0.1:{port}")
    given = ["--appid", "wx99", "--secret", GIVEN.secret, "--token", GIVEN.token, "--aes-key", GIVEN.aes_key]
    with serve(make_bot(settings, plugins=[echoing()])) as target:
        said = simulate(project, "--play", "story.yaml", "--target", target, *given, "--api-port", str(port))
        assert (said.returncode, said.stderr) == (0, ""), said
        assert "2 steps" in said.stdout
        assert GIVEN.secret not in said.stdout
        wrong = [word.replace(GIVEN.token, "another-token") for word in given]
        said = simulate(project, "--play", "story.yaml", "--target", target, *wrong, "--api-port", str(port))
        assert said.returncode == 2
        assert "is the Token the same on both sides?" in said.stderr


def test_an_unreachable_target_fails_the_replay(project: Path) -> None:
    (project / "story.yaml").write_text(STORY)
    with Receiver() as gone:
        target = gone.url
    said = simulate(project, "--play", "story.yaml", "--target", target)
    assert said.returncode == 2
    assert "is the bot running?" in said.stderr
    assert re.search(r"WXBOT_TOKEN=\w+", said.stdout)
