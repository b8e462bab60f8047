"""Log lines contain no secret, and text from outside cannot forge a log line."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wxbot.errors import InvalidPush
from wxbot.logs import RedactingFormatter, account_in_logs, configure_logging, set_log_account
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.server.web import create_app

SECRET = "5ecret0123456789"
TOKEN = "t0kenABCDEF"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
SECRETS = (SECRET, TOKEN, AES_KEY)
ACCESS_TOKEN = "71_xYz-_9876543210"  # the formatter does not know it, because WeChat issues it later

_BEGINNING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ")


class Log:
    """A separate logger that stores its lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logger = logging.Logger("wxbot.test")  # noqa: LOG001 - it must not outlive the test
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(RedactingFormatter(SECRETS))
        self.logger.addHandler(handler)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def log_lines(self) -> list[str]:
        """Return the lines that begin as a log line does, also forged ones."""
        return [line for line in re.split("[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", self.text) if _BEGINNING.match(line)]


@pytest.fixture
def log() -> Log:
    return Log()


# Secrets


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_in_a_line_or_its_arguments(log: Log, secret: str) -> None:
    log.logger.info(f"{secret}")  # noqa: G004 - plugins write this too
    log.logger.info("%s and %r", secret, {"key": secret})
    log.logger.info("%(name)s", {"name": secret})
    log.logger.info("twice: %s%s", secret, secret)
    assert secret not in log.text
    assert log.text.count("***") == 6


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_in_a_traceback(log: Log, secret: str) -> None:
    def call(url: str) -> None:
        try:
            raise OSError(f"cannot reach {url}")
        except OSError as error:
            raise RuntimeError(f"calling {url}") from error

    try:
        call(f"https://x/?a={secret}&access_token={ACCESS_TOKEN}")
    except RuntimeError as error:
        error.add_note(f"with {secret}")
        log.logger.exception("failed", stack_info=True)
    assert "RuntimeError: calling https://x/?a=***&access_token=***" in log.text
    assert secret not in log.text
    assert ACCESS_TOKEN not in log.text


@pytest.mark.parametrize(
    "line",
    [
        f"GET https://api.weixin.qq.com/cgi-bin/x?access_token={ACCESS_TOKEN}&a=b",
        f'"GET /cgi-bin/token?grant_type=client_credential&appid=wx1&secret={ACCESS_TOKEN} HTTP/1.1" 200',
        f"ACCESS_TOKEN={ACCESS_TOKEN}",
        f"corpsecret={ACCESS_TOKEN}",
        f"component_access_token={ACCESS_TOKEN}",
        f"next=https%3A%2F%2Fx%3Faccess_token%3D{ACCESS_TOKEN}%26a",
        json.dumps({"access_token": ACCESS_TOKEN, "expires_in": 7200}),
        json.dumps({"appid": "wx1", "secret": ACCESS_TOKEN}),
        json.dumps({"body": json.dumps({"access_token": ACCESS_TOKEN})}),
        json.dumps({"body": json.dumps({"body": json.dumps({"access_token": ACCESS_TOKEN})})}),
        repr({"access_token": ACCESS_TOKEN}),
        repr(json.dumps({"access_token": ACCESS_TOKEN}).encode()),
        f"{{'access_token' : '{ACCESS_TOKEN}'}}",
        f"access_token: {ACCESS_TOKEN}",
        f"X-WX-CLOUDBASE-ACCESS-TOKEN: {ACCESS_TOKEN}",
        repr({"X-WX-CLOUDBASE-ACCESS-TOKEN": ACCESS_TOKEN}),
        repr([(b"x-wx-cloudbase-access-token", ACCESS_TOKEN.encode())]),
        repr([("access_token", ACCESS_TOKEN), ("media_id", "M1")]),
        repr({b"access_token": ACCESS_TOKEN.encode()}),
        json.dumps({"body": json.dumps(["access_token", ACCESS_TOKEN])}),
    ],
)
def test_credentials_are_redacted(log: Log, line: str) -> None:
    log.logger.warning(line)
    log.logger.warning("%s", line)
    assert ACCESS_TOKEN not in log.text
    assert log.text.count("***") == 2


def test_text_beside_a_credential_is_not_changed(log: Log) -> None:
    log.logger.info("GET /x?access_token=abc&openid=oALICE")
    log.logger.info('{"access_token": "abc", "expires_in": 7200}')
    log.logger.info("the AppSecret is wrong (WXBOT_SECRET), the access_token too")
    assert "access_token=***&openid=oALICE" in log.text
    assert '{"access_token": "***", "expires_in": 7200}' in log.text
    assert "the AppSecret is wrong (WXBOT_SECRET), the access_token too" in log.text


@pytest.mark.parametrize("arguments", [("one", "two"), (), ({"other": 1},)])
@pytest.mark.parametrize("message", ["%s %d %s", "%(name)d"])
def test_a_line_that_does_not_fit_its_arguments_is_redacted(
    log: Log, message: str, arguments: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = message + SECRET
    with account_in_logs("orders"):
        log.logger.info(wrong, *arguments, {"key": TOKEN})
    assert capsys.readouterr().err == "", "the report of logging itself would not be redacted"
    assert "[orders] " in log.text
    assert "does not fit" in log.text
    assert SECRET not in log.text
    assert TOKEN not in log.text


@pytest.mark.parametrize(
    ("secrets", "written"), [(["abc", "abcdef"], "***"), ([], "abcdef"), ([""], "abcdef")], ids=repr
)
def test_a_secret_that_contains_another_is_redacted_completely(secrets: list[str], written: str) -> None:
    record = logging.makeLogRecord({"msg": "abcdef"})
    assert RedactingFormatter(secrets).format(record).endswith(f": {written}")


# Forged lines

FORGED = "2026-01-01 00:00:00,000 INFO wxbot.web: all is well"


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_text_from_outside_cannot_begin_a_log_line(log: Log, newline: str) -> None:
    log.logger.info("the user said %s", f"hi{newline}{FORGED}")
    try:
        raise ValueError(f"hi{newline}{FORGED}")
    except ValueError:
        log.logger.exception("handler failed")
    assert len(log.log_lines) == 2
    assert log.text.count("all is well") == 2, "the text itself is not removed"


def test_control_characters_are_escaped(log: Log) -> None:
    log.logger.info("the user said %s", "\x1b[2J\x1b[H\b\x7f\x9b1A\0 你好\t.")
    assert not [character for character in log.text if character < " " and character not in "\n\t"]
    assert not [character for character in log.text if "\x7f" <= character < "\xa0"]
    assert "\\x1b[2J" in log.text
    assert "你好\t." in log.text


def test_a_traceback_stays_readable(log: Log) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.logger.exception("failed")
    lines = log.text.splitlines()
    assert lines[0].endswith("ERROR wxbot.test: failed")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-2:] == ["    ValueError: two", "    lines"]


# The configured logging


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Return the root logger, and restore its handlers and level afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_each_line_is_written_to_standard_error_once(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING", SECRETS)
    configure_logging("INFO", SECRETS)
    assert len(root.handlers) == 1
    logging.getLogger("urllib3.connectionpool").debug("below the level")
    logging.getLogger("other.library").info("key is %s", SECRET)
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.endswith("INFO other.library: key is ***\n")
    assert written.err.count("\n") == 1


class LeakyBot:
    """A bot that raises errors with the text of its input."""

    callback_path = "/wechat"
    send_api = SimpleNamespace(is_open=False)
    max_body_bytes = 1000

    def verify(self, query: list[tuple[str, str]]) -> str:
        raise InvalidPush(f"no: {dict(query)['echostr']}")

    def receive(self, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> None:
        raise ValueError(body.decode())

    def send_for(self, authorization: str, idempotency_key: str, body: bytes) -> str:
        raise ValueError(body.decode())

    def problem(self) -> str | None:
        return None

    def metrics(self) -> bytes | None:
        return None


def test_a_request_cannot_forge_a_log_line(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", SECRETS)
    client = create_app(Deployment({"": cast(Bot, LeakyBot())})).test_client()
    assert client.get("/wechat", query_string={"echostr": f"x\n{FORGED}"}).status_code == 400
    assert client.post("/wechat", data=f"x\r\n{FORGED} {SECRET}").status_code == 500
    written = capsys.readouterr().err
    log_lines = [line for line in written.splitlines() if _BEGINNING.match(line)]
    assert len(log_lines) == 2
    assert written.count("all is well") >= 2
    assert SECRET not in written


# Several accounts


def messages(log: Log) -> list[str]:
    """Return the lines without time, level and logger."""
    return [line.partition(": ")[2] for line in log.text.splitlines()]


def test_a_line_names_the_account_of_its_context(log: Log) -> None:
    log.logger.info("before")
    with account_in_logs("orders"):
        log.logger.info("within")
        with account_in_logs("club"):
            log.logger.info("deeper")
        log.logger.info("within again")
    log.logger.info("after")
    assert messages(log) == ["before", "[orders] within", "[club] deeper", "[orders] within again", "after"]


def test_set_log_account_is_in_force_until_it_is_removed(log: Log) -> None:
    set_log_account("orders")
    log.logger.info("one")
    set_log_account("")
    log.logger.info("two")
    assert messages(log) == ["[orders] one", "two"]


def test_a_plugin_may_use_account_as_an_extra(log: Log) -> None:
    with account_in_logs("orders"):
        log.logger.info("hello", extra={"account": "theirs"})
    assert messages(log) == ["[orders] hello"]
