"""The server of the page: its events, its requests, and its errors."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.playground.page_support import JSON, EventStream, PageClient, client_for
from tests.testing.bot import Caller
from wxbot import Context, Plugin
from wxbot.playground.page import feed, server
from wxbot.playground.page.access import HEADERS
from wxbot.playground.session import AccountChoice
from wxbot.testing import SAMPLE_IMAGE, User
from wxbot.testing.envelope import Format, Mode

GIF = b"GIF89a" + bytes(10)


# -- events


def test_the_first_event_is_the_session(client: PageClient, alice: User) -> None:
    with client.opens() as page:
        first = page.next()
    assert (first.name, first.id) == ("session", "")
    session = first.data
    assert session["session"] == 1
    assert session["now"] >= 0
    assert session["account"] == {"kind": "miniprogram", "appid": client.wechat.appid, "name": "gh_0123456789ab"}
    assert session["bot"] == {
        "state": "up",
        "target": "",
        "problem": "",
        "callback": client.wechat.callback_url,
        "plugins": "near",
        "troubles": 0,
    }
    assert session["controls"] == {
        "mode": "plain",
        "format": "json",
        "formats": ["json", "xml"],
        "deliver_twice_at_once": False,
        "in_order": True,
        "held": None,
        "faults": [],
        "ahead": 0.0,
    }
    (user,) = session["users"]
    assert user == {
        "name": "alice",
        "openid": alice.openid,
        "window_until": None,
        "typing_until": None,
        "replies_left": 0,
        "replies_until": None,
        "agent": "",
        "queued": False,
        "follows": True,
    }
    assert session["play"] is None


def test_a_conversation_is_streamed(client: PageClient, alice: User) -> None:
    with client.opens() as page:
        assert page.next().name == "session"
        client.lets(alice, "says", text="你好 😀")
        page.row("你好 😀", "send")
        assert [row["n"] for row in page.rows] == list(range(len(page.rows)))
        own = [row for row in page.rows if row["user"] == "alice"]
        assert [row["kind"] for row in own] == ["user", "push", "typing", "typing", "send"]
        action, push, typing, cancel, reply = own
    assert action["bubble"] == {"side": "user", "kind": "text", "text": "你好 😀"}
    assert (push["attempt"], push["outcome"], push["status"]) == (1, "success", 200)
    assert (push["form"], push["encrypted"]) == ("JSON", False)
    assert [typing["what"], cancel["what"]] == ["Typing", "CancelTyping"]
    assert typing["path"] == "/cgi-bin/message/custom/typing"
    assert reply["bubble"] == {"side": "bot", "kind": "text", "text": "你好 😀"}
    assert (reply["errcode"], reply["errmsg"], reply["fault"], reply["violation"]) == (0, "ok", "", False)


def test_user_changes_are_sent_with_their_rows(client: PageClient) -> None:
    with client.opens() as page:
        alice = client.adds("alice")
        data = page.until("users")
        assert [user["name"] for user in data["users"]] == ["alice"]
        client.lets(alice, "says", text="hi")
        sent = page.row("hi", "send")
        user = page.users["alice"]
        assert user["replies_left"] == 4
        assert user["window_until"] == pytest.approx(sent["at"] + 30, abs=0.001)
        assert user["typing_until"] is None


def test_a_reconnecting_page_gets_each_row_once(client: PageClient, alice: User) -> None:
    with client.opens() as page:
        client.lets(alice, "says", text="one")
        page.row("one", "send")
        before = list(page.rows)
        known = page.last_event_id
    assert known == f"1-{before[-1]['n']}"
    client.lets(alice, "says", text="two")
    alice.waits_for("two")
    with client.opens(known) as page:
        assert page.next().name == "session"
        page.row("two", "send")
        assert [row["n"] for row in before + page.rows] == list(range(len(before) + len(page.rows)))


@pytest.mark.parametrize(
    "known", ["1-999999999", "2-0", "0-0", "9-3", "nonsense", "1-", "-1", "1--1", "1-1-1", "１-０", f"1-{10**20}", " "]
)
def test_an_invalid_last_event_id_is_ignored(client: PageClient, alice: User, known: str) -> None:
    client.lets(alice, "says", text="one")
    alice.waits_for("one")
    connection = EventStream(client.server.port, {"Last-Event-ID": known.encode().decode("latin-1")})
    with connection as page:
        assert page.next().name == "session"
        client.lets(alice, "says", text="two")
        page.row("two", "send")
        numbers = [row["n"] for row in page.rows]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_many_rows_are_sent_in_several_events(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_ROWS", 3)
    alice = client.adds("alice")
    for number in range(3):
        client.lets(alice, "says", text=str(number))
        alice.waits_for(str(number))
    everything = len(client.wechat.timeline)
    with client.opens() as page:
        assert page.next().name == "session"
        while len(page.rows) < everything:
            event = page.next()
            assert event.name == "rows"
            assert len(event.data["rows"]) <= 3
            assert event.id == f"1-{event.data['rows'][-1]['n']}"
    assert [row["n"] for row in page.rows] == list(range(everything))


def test_an_idle_page_gets_keep_alive_events(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEEP_ALIVE_SECONDS", 0.01)
    monkeypatch.setattr(feed, "CHECK_SECONDS", 0.01)
    with client.opens() as page:
        while (event := page.next()).name != "time":
            pass
    assert 0 <= event.data["now"] <= client.playground.view.session.now


def test_every_open_page_gets_the_events(client: PageClient, alice: User) -> None:
    pages = [client.opens() for _ in range(5)]
    client.lets(alice, "says", text="hi")
    for page in pages:
        page.row("hi", "send")
        page.close()


def test_open_pages_are_disconnected_when_the_server_stops(tmp_path: Path) -> None:
    with client_for(tmp_path) as client:
        page = client.opens()
        page.next()
    with page, pytest.raises((EOFError, ConnectionError, ValueError)):
        page.until("an event there is not")


# -- details


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("mode", ["safe", "compatible", "plain"])
def test_details_contain_the_raw_messages(tmp_path: Path, mode: Mode, form: Format) -> None:
    with client_for(tmp_path, choice=AccountChoice("miniprogram", mode, form)) as client, client.opens() as page:
        alice = client.adds("alice")
        client.lets(alice, "says", text="你好")
        push = page.row("你好", "push")
        assert (push["form"], push["encrypted"], push["has_details"]) == (form.upper(), mode != "plain", True)
        data = client.row(push["n"])
        sent = client.row(page.row("你好", "send")["n"])
        action = client.row(page.row("你好", "user")["n"])
    assert data["row"] == push
    request = data["request"]
    assert request["line"].startswith("POST /")
    assert "signature=" in request["line"]
    assert ["Content-Type", "application/json" if form == "json" else "text/xml"] in request["headers"]
    assert (request["cut"], request["binary"], request["bytes"]) == (False, False, len(request["body"].encode()))
    assert ("Encrypt" in request["body"]) is (mode != "plain")
    assert ("你好" in request["body"]) is (mode != "safe")
    if mode == "plain":
        assert data["plaintext"] is None
    else:
        assert "你好" in data["plaintext"]
        assert data["plaintext"].startswith("{" if form == "json" else "<xml>")
    assert data["response"]["line"] == "HTTP 200"
    assert data["response_plaintext"] is None
    assert data["fields"]["Content"] == "你好"
    assert json.loads(sent["request"]["body"]) == sent["fields"]
    assert sent["fields"]["text"] == {"content": "你好"}
    assert json.loads(sent["response"]["body"]) == {"errcode": 0, "errmsg": "ok"}
    assert action["request"] is None
    assert action["response"] is None
    assert action["fields"] == data["fields"]


@pytest.mark.parametrize("mode", ["safe", "plain"])
def test_details_contain_passive_replies(tmp_path: Path, mode: Mode) -> None:
    with client_for(tmp_path, choice=AccountChoice("unverified", mode, "xml")) as client, client.opens() as page:
        alice = client.adds("alice")
        client.lets(alice, "says", text="你好")
        passive = page.row("你好", "passive")
        assert passive["bubble"] == {"side": "bot", "kind": "text", "text": "你好"}
        data = client.row(page.row("你好", "push")["n"])
    answer = data["response"]["body"]
    if mode == "safe":
        assert "Encrypt" in answer
        assert "你好" not in answer
        assert "你好" in data["response_plaintext"]
        assert data["response_plaintext"].startswith("<xml>")
    else:
        assert "你好" in answer
        assert data["response_plaintext"] is None


def test_a_msg_id_keeps_all_its_digits(client: PageClient, alice: User) -> None:
    with client.opens() as page:
        client.lets(alice, "says", text="hi")
        data = client.row(page.row("hi", "push")["n"])
    pushed = json.loads(data["request"]["body"])
    assert pushed["MsgId"] > 1 << 53
    assert data["fields"]["MsgId"] == str(pushed["MsgId"])


def test_unknown_rows_are_not_found(client: PageClient, alice: User) -> None:
    client.lets(alice, "says", text="hi")
    assert client.get("/rows/0").status == 200
    assert client.get("/rows/0?session=1").status == 200
    for path in ("/rows/9999", "/rows/0?session=2", "/rows/0?session=", "/rows/999999999999999"):
        answer = client.get(path)
        assert answer.status == 404, path
        assert answer.error
    for path in ("/rows/-1", "/rows/x", "/rows/1.5", "/rows/%EF%BC%91", "/rows/9999999999999999", "/rows/%20"):
        answer = client.get(path)
        assert answer.status == 400, path
        assert "not a number" in answer.error


# -- secrets


def gossip() -> Plugin:
    """Return a plugin that replies with the secrets it is asked for."""
    plugin = Plugin("gossip")

    @plugin.fallback
    async def gossip(ctx: Context) -> str | None:
        return f"x{ctx.text}x" if ctx.text else None

    return plugin


@pytest.mark.parametrize("mode", ["safe", "plain"])
def test_no_secret_leaves_the_server(tmp_path: Path, mode: Mode) -> None:
    choice = AccountChoice("miniprogram", mode, "json")
    with client_for(tmp_path, gossip(), choice=choice) as client, client.opens() as page:
        alice = client.adds("alice")
        wechat = client.wechat
        token = Caller(wechat).fetch()
        with wechat.record_log.changed:
            stable, _ = wechat.platform.tokens.fetch_stable()
        settings = wechat.settings()
        secrets = [settings["WXBOT_SECRET"], settings["WXBOT_TOKEN"], wechat.keys.aes_key, token, stable]
        for number, secret in enumerate(secrets):
            client.lets(alice, "says", text=f"{number} a{secret}b ?secret={secret}&x=1")
            alice.waits_for(lambda seen, begin=f"x{number} a": seen.startswith(begin))  # type: ignore[misc]
        client.lets(alice, "says", text="the end")
        page.row("xthe endx", "send")
        client.bot.written = f"a log with {secrets}".encode()
        client.bot.fails = 1
        refused = client.post("/bot/restart")
        assert refused.status == 422
        shown = [json.dumps(page.rows, ensure_ascii=False), refused.body.decode()]
        paths = ["/lanes/alice", "/transcript.yaml", "/transcript.py", "/log"]
        shown += [client.get(path).body.decode() for path in paths]
        shown += [client.get(f"/rows/{row['n']}").body.decode() for row in page.rows]
    for text in shown:
        for secret in secrets:
            assert secret not in text, text[:200]
    assert "•••" in shown[0]


def test_redaction_changes_only_secrets(client: PageClient) -> None:
    words = 'He wrote: {"secret": "no"} ?secret=none&access_token= and "token": "x" 12_34'
    alice = client.adds("alice")
    with client.opens() as page:
        client.lets(alice, "says", text=words)
        assert page.row(words, "send")["bubble"]["text"] == words


# -- users and their actions

USER_ACTIONS: list[dict[str, Any]] = [
    {"action": "says", "text": "hi"},
    {"action": "enters"},
    {"action": "enters", "session_from": "shop"},
    {"action": "card"},
    {"action": "card", "title": "Shoes", "page_path": "pages/shoes?id=1"},
    {"action": "event", "event": "odd_event", "fields": {"Key": "1", "Number": 3, "Part": 0.5}},
]
OFFICIAL_USER_ACTIONS: list[dict[str, Any]] = [
    {"action": "says", "text": "hi"},
    {"action": "follows"},
    {"action": "follows", "scene": "shop"},
    {"action": "leaves"},
    {"action": "scans", "scene": "door"},
    {"action": "clicks", "key": "menu-1"},
    {"action": "views", "url": "http://127.0.0.1/x"},
    {"action": "voice"},
    {"action": "video"},
    {"action": "location", "latitude": 39.9, "longitude": 116.4, "label": "北京"},
    {"action": "link"},
    {"action": "link", "title": "News", "description": "today", "url": "http://127.0.0.1/news"},
    {"action": "event", "event": "MASSSENDJOBFINISH"},
]


@pytest.mark.parametrize(
    ("account", "actions"), [("client", USER_ACTIONS), ("official", OFFICIAL_USER_ACTIONS)], ids=["mini", "official"]
)
def test_every_action_of_a_user(request: pytest.FixtureRequest, account: str, actions: list[dict[str, Any]]) -> None:
    client: PageClient = request.getfixturevalue(account)
    alice = client.adds("alice") if account == "client" else client.wechat.user("alice")
    for number, action in enumerate(actions, 1):
        client.lets(alice, **action)
        alice.waits_for_pushes(number)
        assert all(record.outcome == "success" for record in client.wechat.timeline if record.kind == "push")
        if action["action"] in ("voice", "video", "location", "link", "event"):
            assert alice.pushes[-1].fields["MsgType"] == action["action"]


def test_a_user_who_unfollowed_is_no_follower(official: PageClient) -> None:
    alice = official.wechat.user("alice")
    with official.opens() as page:
        for _ in range(2):
            official.lets(alice, "follows")
            page.until("rows", lambda data: any(user["follows"] for user in data["users"]))
            official.lets(alice, "leaves")
            page.until("rows", lambda data: any(not user["follows"] for user in data["users"]))


def test_a_mini_program_refuses_actions_of_official_accounts(client: PageClient, alice: User) -> None:
    for action in OFFICIAL_USER_ACTIONS:
        if action["action"] not in ("says", "event"):
            client.refuses("/users/alice/actions", action, words="Mini Program")


def test_an_official_account_refuses_what_it_does_not_support(official: PageClient) -> None:
    for action in ({"action": "enters"}, {"action": "card"}):
        official.refuses("/users/alice/actions", action, words="Official Account")
    official.refuses("/users/alice/actions", {"action": "clicks_menu_item", "label": "Yes"}, words="Yes")
    official.refuses("/controls", {"format": "json", "mode": "safe"}, words="XML")


NAMES = ["bob", "爱丽丝", "a/b", "a?b=c&d", "50% off", "#1", "a b", "a+b", "..x", "~", "{x}", "a%2Fb", "😀", "'\"<b>"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_works_in_a_url(client: PageClient, name: str) -> None:
    user = client.adds(name)
    client.lets(user, "says", text="hi")
    user.waits_for("hi")
    address = quote(name, safe="")
    assert client.post(f"/users/{address}/images", SAMPLE_IMAGE, "image/jpeg").status == 202
    lanes = client.get(f"/lanes/{address}").json["lanes"]
    assert {lane["lane"] for lane in lanes} == {"user", "window", "work", "typing", "reply", "refused"}


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "a\u0000b", "\u200f", ".", ".."])
def test_invalid_names_are_refused(client: PageClient, name: str) -> None:
    answer = client.post("/users", {"name": name})
    assert answer.status in (400, 422)
    assert "name" in answer.error
    assert client.wechat.users == []


def test_a_name_can_be_used_once(client: PageClient, alice: User) -> None:
    client.refuses("/users", {"name": " alice "}, words="the user alice exists already")


def test_the_number_of_users_is_limited(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wxbot.playground.page.playground.MAX_USERS", 1)
    client.adds("alice")
    client.refuses("/users", {"name": "bob"}, words="maximum is 1")


# -- images and media


@pytest.mark.parametrize(("content", "kind"), [(SAMPLE_IMAGE, "image/jpeg"), (GIF, "image/gif")])
def test_an_image_is_sent_and_displayed(client: PageClient, alice: User, content: bytes, kind: str) -> None:
    with client.opens() as page:
        client.done("/users/alice/images", content, kind)
        data = page.until("rows", lambda data: any(row["kind"] == "user" for row in data["rows"]))
        bubble = data["rows"][0]["bubble"]
    assert (bubble["side"], bubble["kind"]) == ("user", "image")
    shown = client.get(bubble["picture"])
    assert (shown.status, shown.headers["Content-Type"], shown.body) == (200, kind, content)
    assert shown.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("content", [b"<html>", b"%PDF", b"#!AMR\n", b"\x00", b'{"action": "says"}'])
def test_other_files_are_not_sent_as_images(client: PageClient, alice: User, content: bytes) -> None:
    client.refuses("/users/alice/images", content, 400, "unsupported image format", "image/png")


def test_an_empty_image_and_an_unknown_user_are_refused(client: PageClient, alice: User) -> None:
    client.refuses("/users/alice/images", b"", 400, "the body is empty", "image/png")
    client.refuses("/users/bob/images", SAMPLE_IMAGE, 404, "bob", "image/jpeg")


def test_a_large_image_is_refused(client: PageClient, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_IMAGE", len(SAMPLE_IMAGE))
    assert client.post("/users/alice/images", SAMPLE_IMAGE, "image/jpeg").status == 202
    answer = client.post("/users/alice/images", SAMPLE_IMAGE + b"x", "image/jpeg")
    assert (answer.status, answer.error) == (413, "the request body is too large")
    packed = client.ask(
        "POST", "/users/alice/images", gzip.compress(SAMPLE_IMAGE + bytes(9999)), {"Content-Encoding": "gzip"}
    )
    assert packed.status == 413
    assert len(client.wechat.user("alice").timeline) <= 2 + 4


def test_unknown_media_is_not_found(client: PageClient) -> None:
    for path in ("/media/none", "/media/%2E%2E%2Fx", "/media/a%20b"):
        assert client.get(path).status == 404


def test_other_media_is_served_as_a_download(client: PageClient) -> None:
    media_id = client.wechat.add_media("image", b"<html><script>alert(1)</script>")
    answer = client.get(f"/media/{media_id}")
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Content-Type"] == "application/octet-stream"


# -- bad requests

ENDPOINTS = [
    *("/users", "/users/alice/actions", "/redeliver", "/controls", "/release", "/faults", "/clock", "/account"),
    *("/agents", "/faults/clear", "/token/revoke", "/bot/restart", "/play/stop"),
]
NO_OBJECTS = [
    *(b"", b"{", b"nonsense", b"[]", b"null", b'"text"', b"1", b"\xff\xfe", b'{"a": "\xff"}', b'{"unknown": 1}'),
    *(b"[" * 50_000, b'{"a":' * 10_000, b'{"name": "\\ud800"}'),
]
OTHER_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_bodies_must_be_small_json_objects(client: PageClient, alice: User, path: str) -> None:
    for body in NO_OBJECTS:
        client.refuses(path, body, 400)
    for kind in OTHER_TYPES:
        client.refuses(path, b"{}", 400, "application/json", kind)
    client.refuses(path, b'{"name": "' + b"x" * 70_000 + b'"}', 413, "the request body is too large")


def test_a_corrupt_body_is_refused(client: PageClient) -> None:
    answer = client.ask("POST", "/users", b"no gzip", {"Content-Type": JSON, "Content-Encoding": "gzip"})
    assert answer.status == 400
    assert answer.error


BAD: list[tuple[str, Any, int, str]] = [
    ("/users", {}, 400, "name"),
    ("/users", {"name": 1}, 400, "name"),
    ("/users", {"name": "bob", "openid": "o1"}, 400, "openid"),
    ("/users/bob/actions", {"action": "says", "text": "hi"}, 404, "bob"),
    ("/users/alice/actions", {"action": "dances"}, 400, "dances"),
    ("/users/alice/actions", {"text": "hi"}, 400, "action"),
    ("/users/alice/actions", {"action": "says"}, 400, "text"),
    ("/users/alice/actions", {"action": "says", "text": ""}, 400, "text"),
    ("/users/alice/actions", {"action": "says", "text": 5}, 400, "text"),
    ("/users/alice/actions", {"action": "says", "text": "x" * 20_001}, 400, "text"),
    ("/users/alice/actions", {"action": "says", "text": "hi", "to": "bob"}, 400, "to"),
    ("/users/alice/actions", {"action": "event", "event": ""}, 400, "event"),
    ("/users/alice/actions", {"action": "event", "event": "x", "fields": {"Event": "y"}}, 422, "Event"),
    ("/users/alice/actions", {"action": "event", "event": "x", "fields": {"FromUserName": "y"}}, 422, "FromUserName"),
    ("/users/alice/actions", {"action": "event", "event": "x", "fields": {"a b": "y"}}, 400, "fields"),
    ("/users/alice/actions", {"action": "event", "event": "x", "fields": {"": "y"}}, 400, "fields"),
    ("/users/alice/actions", {"action": "event", "event": "x", "fields": {"a": {}}}, 400, "fields"),
    ("/users/alice/actions", {"action": "event", "event": "x", "fields": {f"a{n}": n for n in range(51)}}, 422, "50"),
    ("/users/alice/actions", b'{"action": "event", "event": "x", "fields": {"a": NaN}}', 400, "fields"),
    ("/users/alice/actions", b'{"action": "event", "event": "x", "fields": {"a": 1e999}}', 400, "fields"),
    ("/users/alice/actions", b'{"action": "location", "latitude": NaN, "longitude": 1}', 400, "latitude"),
    ("/users/alice/actions", {"action": "location", "latitude": 91, "longitude": 1}, 400, "latitude"),
    ("/redeliver", {}, 404, "user"),
    ("/redeliver", {"user": "bob"}, 404, "bob"),
    ("/redeliver", {"user": "alice"}, 404, "alice"),
    ("/redeliver", {"row": 0}, 404, "row 0"),
    ("/redeliver", {"row": 10**30}, 404, "row"),
    ("/redeliver", {"row": -1}, 400, "row"),
    ("/redeliver", {"row": "x"}, 400, "row"),
    ("/controls", {"mode": "cloud"}, 400, "mode"),
    ("/controls", {"format": "yaml"}, 400, "format"),
    ("/controls", {"hold": False}, 400, "hold"),
    ("/controls", {"in_order": "perhaps"}, 400, "in_order"),
    ("/controls", {"in_order": False, "mode": 1}, 400, "mode"),
    ("/release", {"order": "random"}, 400, "order"),
    ("/release", {"order": "sent"}, 422, "held"),
    ("/faults", {"endpoint": "send"}, 400, "kind"),
    ("/faults", {"kind": "drop"}, 400, "endpoint"),
    ("/faults", {"endpoint": "other", "kind": "drop"}, 400, "endpoint"),
    ("/faults", {"endpoint": "send", "kind": "explode"}, 400, "kind"),
    ("/faults", {"endpoint": "send", "kind": "http", "status": 200}, 400, "status"),
    ("/faults", {"endpoint": "send", "kind": "slow", "seconds": 0}, 400, "seconds"),
    ("/faults", {"endpoint": "send", "kind": "slow", "seconds": 3601}, 400, "seconds"),
    ("/faults", b'{"endpoint": "send", "kind": "slow", "seconds": NaN}', 400, "seconds"),
    ("/faults", b'{"endpoint": "send", "kind": "slow", "seconds": Infinity}', 400, "seconds"),
    ("/faults", {"endpoint": "send", "kind": "drop", "times": 0}, 400, "times"),
    ("/faults", {"endpoint": "send", "kind": "drop", "times": 1.5}, 400, "times"),
    ("/faults", {"endpoint": "send", "kind": "fail", "errcode": "many"}, 400, "errcode"),
    ("/clock", {}, 400, "forward"),
    ("/clock", {"forward": 1, "user": "alice", "to": 29}, 400, "either"),
    ("/clock", {"forward": 0}, 422, "more than 0"),
    ("/clock", {"forward": -5}, 422, "more than 0"),
    ("/clock", {"forward": 2592001}, 422, "30 days"),
    ("/clock", {"forward": "soon"}, 400, "forward"),
    ("/clock", b'{"forward": NaN}', 400, "forward"),
    ("/clock", b'{"forward": 1e999}', 400, "forward"),
    ("/clock", b'{"forward": -Infinity}', 400, "forward"),
    ("/clock", {"to": 29}, 404, "user"),
    ("/clock", {"user": "bob", "to": 29}, 404, "bob"),
    ("/clock", {"user": "alice", "to": 29}, 422, "alice"),
    ("/clock", {"user": "alice", "to": 172800}, 422, "alice"),
    ("/clock", {"user": "alice", "to": 30}, 400, "to"),
    ("/account", {}, 400, "kind"),
    ("/account", {"kind": "enterprise"}, 400, "kind"),
    ("/agents", {"agent": "kf1", "action": "takes"}, 400, "user"),
    ("/agents", {"agent": "kf1", "action": "takes", "user": "bob"}, 404, "bob"),
    ("/agents", {"agent": "kf 1", "action": "takes", "user": "alice"}, 400, "agent"),
    ("/agents", {"agent": "kf1", "action": "sings", "user": "alice"}, 400, "action"),
    ("/agents", {"agent": "kf1", "action": "says", "user": "alice"}, 400, "text"),
    ("/agents", {"agent": "kf1", "action": "says", "user": "alice", "text": "hi"}, 422, "no session"),
    ("/agents", {"agent": "kf1", "action": "closes", "user": "alice"}, 422, "no session"),
]


@pytest.mark.parametrize(("path", "body", "status", "word"), BAD)
def test_invalid_requests_are_refused_with_a_reason(
    client: PageClient, alice: User, path: str, body: Any, status: int, word: str
) -> None:
    client.refuses(path, body, status, word)


# -- paths and headers


UNKNOWN = [
    *("/static/none.js", "/static/../server.py", "/static/%2E%2E%2Fserver.py", "/static/..%2f..%2fserver.py"),
    *("/static/%2E%2E/server.py", "/static//etc/passwd", "/static/", "/static", "/static/..", "/static/index.html%00"),
    *("/static/.%2Findex.html", "/server.py", "/etc/passwd", "//etc/passwd", "/none"),
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_unknown_paths_are_not_found(client: PageClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert answer.error
    assert_safe(answer.headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/users"), ("GET", "/play"), ("DELETE", "/users"), ("POST", "/events"), ("PUT", "/log")],
)
def test_another_method_is_not_allowed(client: PageClient, method: str, path: str) -> None:
    answer = client.ask(method, path)
    assert (answer.status, answer.error) == (405, "method not allowed for this path")
    assert_safe(answer.headers)


def assert_safe(headers: Any) -> None:
    assert headers.items() >= HEADERS.items()


def test_every_response_has_the_security_headers(client: PageClient, alice: User) -> None:
    client.lets(alice, "says", text="hi")
    names = [path.name for path in server.STATIC.iterdir() if path.is_file()]
    assert "index.html" in names
    paths = ["/", *(f"/static/{name}" for name in names)]
    paths += ["/rows/0", "/rows/9999", "/lanes/alice", "/lanes/bob", "/log", "/log?after=x", "/media/none"]
    paths += ["/transcript.yaml", "/transcript.py"]
    for path in paths:
        assert_safe(client.get(path).headers)
    for path in ENDPOINTS:
        assert_safe(client.post(path, b"nonsense").headers)
    with client.opens() as page:
        assert_safe(page.head)
        assert page.head["Content-Type"] == "text/event-stream"
        assert page.head["Cache-Control"] == "no-store"


def test_the_page_and_its_files_are_served(client: PageClient) -> None:
    page = client.get("/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    kinds = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for path in server.STATIC.iterdir():
        answer = client.get(f"/static/{path.name}")
        assert answer.status == 200
        assert answer.body == path.read_bytes()
        assert answer.headers["Content-Type"].partition(";")[0].endswith(kinds[path.suffix])


def test_an_internal_error_reveals_no_details(
    client: PageClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(number: int) -> None:
        raise RuntimeError(f"the inside of row {number}")

    monkeypatch.setattr(client.playground.view.rows, "details", break_down)
    with caplog.at_level(logging.CRITICAL, "wxbot.playground"):
        answer = client.get("/rows/0")
    assert answer.status == 500
    assert "inside of row" not in answer.error
    assert_safe(answer.headers)


# -- the bot's log


def test_the_log_is_read_incrementally(client: PageClient) -> None:
    client.bot.written = b"one\n"
    first = client.get("/log").json
    assert first == {"text": "one\n", "next": 4}
    client.bot.written += "二\n".encode()
    second = client.get(f"/log?after={first['next']}").json
    assert second == {"text": "二\n", "next": 8}
    assert client.get("/log?after=8").json == {"text": "", "next": 8}
    assert client.get("/log?after=99").json["text"] == ""
    for after in ("-1", "x", "1e3", "", "9" * 16):
        assert client.get(f"/log?after={after}").status == 400


# -- saving


def test_a_session_can_be_saved(client: PageClient, alice: User) -> None:
    client.lets(alice, "says", text="你好")
    alice.waits_for("你好")
    kept = client.get("/transcript.yaml")
    assert kept.headers["Content-Disposition"] == 'attachment; filename="conversation.yaml"'
    assert kept.headers["Content-Type"].startswith("application/yaml")
    assert "- alice says: 你好" in kept.body.decode()
    test = client.get("/transcript.py")
    assert test.headers["Content-Disposition"] == 'attachment; filename="test_conversation.py"'
    compile(test.body, "test_conversation.py", "exec")
