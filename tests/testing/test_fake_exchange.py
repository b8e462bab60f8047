"""Test that each record has its request and response, without secrets."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.bot import SILENCE, Caller, Receiver
from wxbot.testing import SAMPLE_IMAGE, FakeWeChat, ManualClock, Record, User, envelope
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.exchange import HIDDEN, MAX_STORED_BYTES, Exchange, Redactor
from wxbot.testing.faults import Faults

ACCOUNT = {"mode": "plain", "format": "json"}

SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "a-token-of-ours"
AES_KEY = "k" * 43
ACCESS_TOKEN = "76_" + "aB3-_" * 24
REDACTOR = Redactor([SECRET, TOKEN, AES_KEY, ""])
ALL = [SECRET, TOKEN, AES_KEY, ACCESS_TOKEN]


# -- redaction


@pytest.mark.parametrize("secret", ALL)
@pytest.mark.parametrize("around", ["{}", "a{}b", "你{}好", "{0}{0}", '{{"x": "{}"}}', "x_{}", "7{}7", "?x={}&y=1"])
def test_secrets_are_redacted_everywhere(secret: str, around: str) -> None:
    text = around.format(secret)
    assert REDACTOR.redact(text) == around.format(HIDDEN)
    side = REDACTOR.message(f"POST /{text}", {"X-Header": text}, text.encode())
    assert secret not in side.line + side.headers[0][1] + side.body.decode()
    assert HIDDEN.encode() in side.body
    assert side.size == len(text.encode())


@given(
    before=st.text(),
    after=st.text(),
    secret=st.sampled_from(ALL),
    glue=st.sampled_from(["", "_", "-", "0", "12_", "\\"]),
)
def test_secrets_are_redacted_inside_any_text(before: str, after: str, secret: str, glue: str) -> None:
    text = before + glue + secret + glue + after
    side = REDACTOR.message(text, {"Name": text}, text.encode(errors="surrogatepass"))
    shown = [REDACTOR.redact(text), side.line, side.headers[0][1], side.body.decode(errors="replace")]
    assert all(secret not in each for each in shown)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_without_a_secret_is_unchanged(text: str) -> None:
    assert REDACTOR.redact(text) == text
    assert REDACTOR.message("", {}, text.encode()).body == text.encode()[:MAX_STORED_BYTES]


@given(st.binary(max_size=200))
def test_binary_bodies_are_unchanged(content: bytes) -> None:
    assert REDACTOR.message("", {}, content).body == content


@given(st.text())
def test_lone_surrogates_are_accepted(text: str) -> None:
    assert isinstance(REDACTOR.redact(text), str)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GET /x?access_token=abc", "GET /x?access_token=•••"),
        ("GET /x?access_token=abc&type=image", "GET /x?access_token=•••&type=image"),
        ("GET /x?appid=wx1&secret=abc&grant_type=c", "GET /x?appid=wx1&secret=•••&grant_type=c"),
        ("GET /x?cloudbase_access_token=abc", "GET /x?cloudbase_access_token=•••"),
        ("GET /x?secrets=3&my_access_token=4", "GET /x?secrets=3&my_access_token=4"),
    ],
)
def test_secret_query_parameters_are_redacted(line: str, shown: str) -> None:
    assert REDACTOR.message(line, {}, b"").line == shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"access_token": "abc", "expires_in": 7200}', '{"access_token": "•••", "expires_in": 7200}'),
        ('{"secret":"a\\"b\\\\","appid":"wx1"}', '{"secret":"•••","appid":"wx1"}'),
        ('{"secret" : ""}', '{"secret" : "•••"}'),
        ('{"secrets": "abc"}', '{"secrets": "abc"}'),
        ('{"text": "secret: abc"}', '{"text": "secret: abc"}'),
    ],
)
def test_secret_json_fields_are_redacted(body: str, shown: str) -> None:
    assert REDACTOR.message("", {}, body.encode()).body.decode() == shown


def test_secret_values_are_redacted_even_if_a_known_secret_is_a_common_word() -> None:
    redactor = Redactor(["token", "secret"])
    side = redactor.message("GET /x?access_token=abc&secret=def", {}, b'{"access_token": "ghi", "secret": "jkl"}')
    shown = side.line + side.body.decode()
    assert not any(value in shown for value in ("abc", "def", "ghi", "jkl"))


def test_nothing_is_redacted_without_secrets() -> None:
    assert Redactor([]).redact("anything") == "anything"


# -- the maximum size of a stored body


def test_a_long_body_is_cut() -> None:
    side = REDACTOR.message("", {}, b"x" * (MAX_STORED_BYTES + 1))
    assert (len(side.body), side.size) == (MAX_STORED_BYTES, MAX_STORED_BYTES + 1)
    side = REDACTOR.message("", {}, b"x" * MAX_STORED_BYTES)
    assert (len(side.body), side.size) == (MAX_STORED_BYTES, MAX_STORED_BYTES)


@pytest.mark.parametrize("secret", ALL)
def test_a_cut_body_contains_no_part_of_a_secret(secret: str) -> None:
    for inside in (1, 5, len(secret) - 1):
        body = b"." * (MAX_STORED_BYTES - inside) + secret.encode() + b"." * 99
        stored = REDACTOR.message("", {}, body).body
        assert len(stored) <= MAX_STORED_BYTES
        assert set(stored) <= set(b"." + HIDDEN.encode())


# -- calls of the API


@pytest.fixture
def alice(wechat: FakeWeChat) -> User:
    alice = wechat.user("alice")
    alice.says("hi").done = True
    return alice


@pytest.fixture
def caller(wechat: FakeWeChat) -> Caller:
    return Caller(wechat)


def exchange_of(wechat: FakeWeChat, kind: str) -> Exchange:
    """Return the exchange of the last record of this kind."""
    record = next(record for record in reversed(wechat.timeline) if record.kind == kind)
    assert record.exchange is not None
    return record.exchange


def assert_no_secret_recorded(wechat: FakeWeChat, caller: Caller) -> None:
    everything = "".join(repr(record.exchange) + repr(record) for record in wechat.timeline)
    for secret in (wechat.settings()["WXBOT_SECRET"], wechat.keys.token, wechat.keys.aes_key, caller.token or "-" * 9):
        assert secret not in everything


def test_the_exchange_of_a_sent_message(wechat: FakeWeChat, alice: User, caller: Caller) -> None:
    assert caller.sends(alice, "你好") == 0
    exchange = exchange_of(wechat, "send")
    assert exchange.request.line == "POST /cgi-bin/message/custom/send?access_token=•••"
    assert json.loads(exchange.request.body)["text"] == {"content": "你好"}
    assert exchange.answer is not None
    assert exchange.answer.line == "HTTP 200"
    assert json.loads(exchange.answer.body) == {"errcode": 0, "errmsg": "ok"}
    assert exchange.clear is None
    assert_no_secret_recorded(wechat, caller)


def test_tokens_are_redacted_in_the_exchange(wechat: FakeWeChat, caller: Caller) -> None:
    caller.fetch()
    classic = exchange_of(wechat, "token")
    assert classic.answer is not None
    assert json.loads(classic.answer.body) == {"access_token": HIDDEN, "expires_in": 7200}
    caller.stable()
    stable = exchange_of(wechat, "token")
    assert json.loads(stable.request.body)["secret"] == HIDDEN
    assert_no_secret_recorded(wechat, caller)


def test_the_exchange_of_a_rejected_call(wechat: FakeWeChat, caller: Caller) -> None:
    answer = caller.post("/cgi-bin/message/custom/send", b"nonsense", access_token="not-a-token")
    exchange = exchange_of(wechat, "send")
    assert exchange.request.body == b"nonsense"
    assert "not-a-token" not in exchange.request.line
    assert exchange.answer is not None
    assert json.loads(exchange.answer.body) == answer


def test_the_exchange_of_an_unknown_path(wechat: FakeWeChat, caller: Caller) -> None:
    caller.get("/cgi-bin/none")
    exchange = exchange_of(wechat, "other")
    assert exchange.request.line == "GET /cgi-bin/none"
    assert exchange.answer is not None
    assert exchange.answer.line == "HTTP 404"


def test_the_exchanges_of_an_upload_and_a_download(wechat: FakeWeChat, caller: Caller) -> None:
    media_id = caller.uploads("image", SAMPLE_IMAGE)["media_id"]
    upload = exchange_of(wechat, "upload")
    assert SAMPLE_IMAGE in upload.request.body
    assert upload.request.size == len(upload.request.body)
    assert upload.answer is not None
    assert json.loads(upload.answer.body)["media_id"] == media_id
    caller.downloads(media_id)
    download = exchange_of(wechat, "download")
    assert download.answer is not None
    assert download.answer.body == SAMPLE_IMAGE
    assert ("Content-Type", "image/jpeg") in download.answer.headers
    caller.downloads("none")
    missing = exchange_of(wechat, "download")
    assert missing.answer is not None
    assert json.loads(missing.answer.body)["errcode"] == 40007
    assert_no_secret_recorded(wechat, caller)


def test_the_exchange_of_a_large_file_is_cut(wechat: FakeWeChat, caller: Caller) -> None:
    caller.uploads("image", SAMPLE_IMAGE + bytes(200_000))
    request = exchange_of(wechat, "upload").request
    assert len(request.body) == MAX_STORED_BYTES
    assert request.size > 200_000


# -- faults


def faulty(wechat: FakeWeChat, alice: User, caller: Caller) -> Exchange:
    """Make a call with a fault, ignore its errors, and return its exchange."""
    caller.fetch()
    with suppress(OSError, http.client.HTTPException, AssertionError, json.JSONDecodeError):
        caller.sends(alice, "hi")
    wechat.waits_until(lambda: any(record.fault for record in wechat.timeline))
    exchange = exchange_of(wechat, "send")
    assert json.loads(exchange.request.body)["text"] == {"content": "hi"}
    return exchange


@pytest.mark.parametrize(
    ("inject", "errcode"),
    [
        (lambda faults: faults.drop("send"), None),
        (lambda faults: faults.http_error("send", 502), None),
        (lambda faults: faults.drop("send", acted=True), 0),
        (lambda faults: faults.http_error("send", acted=True), 0),
        (lambda faults: faults.fail("send", 45009), 45009),
    ],
    ids=["drop", "http", "drop after processing", "http after processing", "errcode"],
)
def test_the_exchange_of_a_fault_has_the_answer_that_wechat_made(
    wechat: FakeWeChat, alice: User, caller: Caller, inject: Callable[[Faults], None], errcode: int | None
) -> None:
    inject(wechat.faults)
    answer = faulty(wechat, alice, caller).answer
    assert (None if answer is None else json.loads(answer.body)["errcode"]) == errcode


# -- pushes


def push_of(wechat: FakeWeChat, number: int = 0) -> Record:
    return [record for record in wechat.timeline if record.kind == "push"][number]


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("mode", ["safe", "compatible", "plain"])
def test_the_exchange_of_a_push(clock: ManualClock, bot: Receiver, mode: Mode, form: Format) -> None:
    with FakeWeChat(clock, mode=mode, format=form, callback_url=bot.url) as wechat:
        wechat.user("alice").says("你好").wait()
        exchange = push_of(wechat).exchange
    assert exchange is not None
    assert exchange.request.body == bot.received[0].body
    assert exchange.request.size == len(bot.received[0].body)
    assert exchange.request.line.startswith("POST /wechat?signature=")
    assert dict(exchange.request.headers)["Content-Type"] == bot.received[0].headers["Content-Type"]
    assert exchange.answer is not None
    assert (exchange.answer.line, exchange.answer.body) == ("HTTP 200", b"success")
    assert exchange.answer_clear is None
    if mode == "plain":
        assert exchange.clear is None
        return
    assert exchange.clear is not None
    assert "你好" in exchange.clear
    sealed, query = envelope.from_text(exchange.request.body, form)["Encrypt"], bot.received[0].query
    parts = (query["timestamp"], query["nonce"], sealed)
    assert query["msg_signature"] == envelope.sign(wechat.keys.token, *parts)
    text, appid = envelope.decrypt(sealed, wechat.keys.aes_key)
    assert (text.decode(), appid) == (exchange.clear, wechat.appid)
    assert (b"FromUserName" in exchange.request.body) is (mode == "compatible")


def test_the_exchange_of_a_push_that_times_out(wechat: FakeWeChat, clock: ManualClock, bot: Receiver) -> None:
    bot.answer = lambda received: SILENCE
    wechat.callback_url, wechat.tries = bot.url, 1
    push = wechat.user("alice").says("hi")
    bot.waits_for(1)
    clock.advance(15)
    push.wait()
    record = push_of(wechat)
    assert record.outcome == "timeout (no answer within 5 s)"
    assert record.exchange is not None
    assert record.exchange.answer is None


@pytest.mark.parametrize("answered", [True, False])
def test_the_exchange_of_a_failed_push_has_the_answer_that_came(
    wechat: FakeWeChat, bot: Receiver, answered: bool
) -> None:
    bot.answer = lambda received: (200, b"<html>an error page")
    with Receiver() as gone:
        wechat.callback_url, wechat.tries = bot.url if answered else gone.url, 1
    wechat.user("alice").says("hi").wait()
    record = push_of(wechat)
    assert record.outcome.startswith("refused (" if answered else "error (")
    assert record.status == (200 if answered else None)
    assert record.exchange is not None
    answer = record.exchange.answer
    assert (answer.body if answer else None) == (b"<html>an error page" if answered else None)


def test_secrets_in_the_answer_of_a_bot_are_redacted(wechat: FakeWeChat, bot: Receiver) -> None:
    token, secret = wechat.keys.token, wechat.settings()["WXBOT_SECRET"]
    bot.answer = lambda received: (500, f"token={token} secret={secret}".encode())
    wechat.callback_url, wechat.tries = bot.url, 1
    wechat.user("alice").says(f"my token is {token}").wait()
    exchange = push_of(wechat).exchange
    assert exchange is not None
    assert token not in repr(exchange)
    assert secret not in repr(exchange)


def test_the_format_of_an_access_token_is_redacted() -> None:
    with FakeWeChat() as wechat:
        token = Caller(wechat).fetch()
    assert Redactor([]).redact(f"x{token}x") == f"x{HIDDEN}x"
    assert len(ACCESS_TOKEN) == len(token)
    assert Redactor([]).redact(secrets.token_urlsafe(48)) != HIDDEN
