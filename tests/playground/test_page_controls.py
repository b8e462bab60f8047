"""The controls of the page and their effects on the platform."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.playground.page_support import PageClient, client_for, echoing, next_result, progress
from tests.testing.bot import Caller
from wxbot import Context, MenuReply, Plugin
from wxbot.playground.session import AccountChoice
from wxbot.testing import SAMPLE_IMAGE, Record, User

STORY = """\
wxbot-transcript: 1
account: miniprogram
mode: plain
format: json
steps:
- amy says: 你好
- amy sees: [Typing, CancelTyping, 你好]
- forward: 31
- bob says: hi
- bob sees: [Typing, CancelTyping, hi]
"""


def pushes_of(user: User) -> list[Record]:
    return [record for record in user.timeline if record.kind == "push"]


def answers(client: PageClient, user: User, text: str) -> Record:
    """Send a message and wait for the reply. Return the last delivery attempt."""
    client.lets(user, "says", text=text)
    user.waits_for(text)
    client.wechat.waits_until(lambda: any(push.what == text for push in pushes_of(user)))
    return next(push for push in pushes_of(user) if push.what == text)


def controls(client: PageClient, **changes: object) -> Any:
    """Change the controls. Return their state."""
    data = client.done("/controls", changes)["controls"] if changes else client.playground.view.controls()
    assert data == client.playground.view.controls()
    return data


# -- pushes


def test_every_mode_and_format_can_be_chosen(client: PageClient, alice: User) -> None:
    changes = [("compatible", "json"), ("safe", "xml"), ("plain", "xml"), ("safe", "json"), ("plain", "json")]
    for (mode, form), starts in zip(changes, (2, 2, 3, 4, 5), strict=True):
        data = controls(client, mode=mode, format=form)
        assert (data["mode"], data["format"], data["formats"]) == (mode, form, ["json", "xml"])
        assert client.bot.starts == starts
        exchange = answers(client, alice, f"{mode} {form}").exchange
        assert exchange is not None
        assert (b"Encrypt" in exchange.request.body) is (mode != "plain")
        assert exchange.request.body.startswith(b"{" if form == "json" else b"<xml>")


def test_an_empty_change_has_no_effect(client: PageClient) -> None:
    before = controls(client)
    assert client.done("/controls", {})["controls"] == before
    assert controls(client, mode="plain", format="json") == before
    assert client.bot.starts == 1


def test_a_failed_restart_restores_the_controls(client: PageClient, alice: User) -> None:
    before = controls(client)
    client.bot.fails = 1
    answer = client.post("/controls", {"mode": "safe", "format": "xml", "in_order": False, "hold": True})
    assert answer.status == 422
    assert answer.error == "the bot ended while it started: it knows •••"
    assert controls(client) == before
    answers(client, alice, "still there")


def test_an_official_account_uses_xml(tmp_path: Path) -> None:
    with client_for(tmp_path, choice=AccountChoice("official", "safe", "json")) as client:
        data = controls(client)
        assert (data["mode"], data["format"], data["formats"]) == ("safe", "xml", ["xml"])
        answers(client, client.adds("alice"), "hi")


def test_every_push_can_be_delivered_twice_at_once(client: PageClient, alice: User) -> None:
    assert controls(client, deliver_twice_at_once=True)["deliver_twice_at_once"] is True
    client.lets(alice, "says", text="hi")
    alice.waits_for_pushes(2)
    alice.waits_for("hi")
    assert [push.attempt for push in pushes_of(alice)] == [1, 1]
    assert alice.saw.count("hi") == 1
    assert controls(client, deliver_twice_at_once=False)["deliver_twice_at_once"] is False
    answers(client, alice, "once")
    alice.waits_for_pushes(3)
    assert len(pushes_of(alice)) == 3


def test_pushes_can_be_delivered_in_order_or_not(client: PageClient) -> None:
    for wanted in (False, True):
        assert controls(client, in_order=wanted)["in_order"] is wanted
        assert client.wechat.in_order is wanted


@pytest.mark.parametrize("order", ["sent", "reversed"])
def test_pushes_can_be_held_and_released(client: PageClient, alice: User, order: str) -> None:
    assert controls(client, hold=True)["held"] == 0
    with client.opens() as page:
        for number in range(3):
            client.lets(alice, "says", text=str(number))
        page.until("controls", lambda data: data["controls"]["held"] == 3)
        assert pushes_of(alice) == []
        assert controls(client, hold=True)["held"] == 3
        client.done("/release", {"order": order})
        page.until("controls", lambda data: data["controls"]["held"] is None)
    alice.waits_for_pushes(3)
    came = [push.what for push in pushes_of(alice)]
    assert came == (["0", "1", "2"] if order == "sent" else ["2", "1", "0"])
    assert client.post("/release", {}).status == 422


def test_a_redelivery_is_held_too(client: PageClient, alice: User) -> None:
    answers(client, alice, "hi")
    controls(client, hold=True)
    client.done("/redeliver", {"user": "alice"})
    assert controls(client)["held"] == 1
    client.done("/release", {})
    alice.waits_for_pushes(2)
    assert alice.saw.count("hi") == 1


def test_the_last_push_can_be_redelivered(client: PageClient, alice: User) -> None:
    first = answers(client, alice, "one").body
    last = answers(client, alice, "two").body
    client.done("/redeliver", {"user": "alice"})
    alice.waits_for_pushes(3)
    assert [push.body for push in pushes_of(alice)] == [first, last, last]
    answers(client, alice, "three")
    assert alice.saw.count("two") == 1


def test_the_push_of_a_row_can_be_redelivered(client: PageClient, alice: User) -> None:
    with client.opens() as page:
        first = answers(client, alice, "one").body
        answers(client, alice, "two")
        rows = [page.row("one", kind)["n"] for kind in ("user", "push")]
        reply = page.row("one", "send")["n"]
    for times, row in enumerate(rows, 3):
        client.done("/redeliver", {"row": row})
        alice.waits_for_pushes(times)
        assert pushes_of(alice)[-1].body == first
    answer = client.post("/redeliver", {"row": reply})
    assert (answer.status, answer.error) == (404, f"row {reply} contains no push")


# -- faults

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "fail"}, "errcode -1"),
    ({"kind": "fail", "errcode": 45009}, "errcode 45009"),
    ({"kind": "http", "status": 502}, "http 502"),
    ({"kind": "http", "acted": True}, "http 500 after processing"),
    ({"kind": "drop"}, "drop"),
    ({"kind": "drop", "acted": True}, "drop after processing"),
    ({"kind": "slow", "seconds": 7}, "slow 7 s"),
    ({"kind": "hang"}, "hang"),
]


def calls(client: PageClient, user: User) -> dict[str, Callable[[], object]]:
    """Return one call of each kind, as a bot makes it."""
    caller = Caller(client.wechat)
    caller.fetch()
    media_id = client.wechat.add_media("image", SAMPLE_IMAGE)
    return {
        "typing": lambda: caller.typing(user),
        "send": lambda: caller.sends(user, "a call"),
        "token": caller.fetch,
        "upload": lambda: caller.uploads("image", SAMPLE_IMAGE),
        "download": lambda: caller.downloads(media_id),
    }


@pytest.mark.parametrize("endpoint", ["typing", "send", "token", "upload", "download"])
@pytest.mark.parametrize(("order", "words"), FAULTS)
def test_a_fault_hits_the_chosen_endpoint(
    client: PageClient, alice: User, endpoint: str, order: dict[str, Any], words: str
) -> None:
    controls(client, hold=True)  # the bot makes no calls in between
    client.lets(alice, "says", text="hi")
    call = calls(client, alice)[endpoint]
    with client.opens() as page:
        client.done("/faults", {"endpoint": endpoint, **order})
        data = page.until("controls", lambda data: data["controls"]["faults"])
        assert data["controls"]["faults"] == [{"endpoint": endpoint, "what": words, "times": 1}]
        thread = threading.Thread(target=attempt, args=(call,))
        thread.start()
        page.until("controls", lambda data: not data["controls"]["faults"])
        if order["kind"] == "slow":
            client.done("/clock", {"forward": 7})
        while not any(row["fault"] for row in page.rows):
            page.until("rows")
        (row,) = [row for row in page.rows if row["fault"]]
        assert (row["kind"], row["fault"], row["violation"]) == (endpoint, words, False)
        details = client.row(row["n"])
        assert (details["response"] is None) is (order["kind"] in ("http", "drop", "hang") and not order.get("acted"))
        if order["kind"] == "hang":  # until the platform ends
            client.done("/account", {"kind": "miniprogram"})
    thread.join()


def attempt(call: Callable[[], object]) -> None:
    """Make a call and ignore the error that a fault causes."""
    with suppress(OSError, http.client.HTTPException, AssertionError, json.JSONDecodeError, KeyError):
        call()


def test_faults_can_be_limited_unlimited_and_cleared(client: PageClient, alice: User) -> None:
    client.done("/faults", {"endpoint": "typing", "kind": "fail", "times": 2})
    client.done("/faults", {"endpoint": "send", "kind": "fail", "errcode": 45009, "times": None})
    data = controls(client)["faults"]
    assert data == [
        {"endpoint": "typing", "what": "errcode -1", "times": 2},
        {"endpoint": "send", "what": "errcode 45009", "times": None},
    ]
    client.done("/faults/clear")
    assert controls(client)["faults"] == []
    answers(client, alice, "hi")


def test_a_failing_typing_call_does_not_stop_the_reply(client: PageClient, alice: User) -> None:
    client.done("/faults", {"endpoint": "typing", "kind": "http", "times": None})
    answers(client, alice, "hi")
    assert alice.saw == ["hi"]


def test_a_revoked_token_is_fetched_again(client: PageClient, alice: User) -> None:
    answers(client, alice, "one")
    fetched = client.wechat.token_fetches
    client.done("/token/revoke")
    answers(client, alice, "two")
    assert client.wechat.token_fetches > fetched
    assert any(record.errcode == 40001 for record in alice.timeline)


# -- time


def test_the_clock_can_be_advanced(client: PageClient, alice: User) -> None:
    answers(client, alice, "hi")
    with client.opens() as page:
        before = page.next().data["now"]
        data = client.done("/clock", {"forward": 3600})
        assert data["now"] >= before + 3600
        event = page.until("controls")
        assert event["controls"]["ahead"] == 3600
        assert event["now"] >= before + 3600
    client.done("/clock", {"forward": 0.5})
    assert controls(client)["ahead"] == 3600.5


@pytest.mark.parametrize(("to", "errcode"), [(29, 0), (31, 45080)])
def test_the_clock_can_advance_to_the_edge_of_the_window(
    client: PageClient, alice: User, to: int, errcode: int
) -> None:
    answers(client, alice, "hi")
    client.done("/clock", {"user": "alice", "to": to})
    caller = Caller(client.wechat)
    if errcode:
        assert caller.typing(alice) == errcode
        answer = client.post("/clock", {"user": "alice", "to": to})
        assert answer.status == 422
        assert "passed already" in answer.error
    else:
        assert client.playground.view.lanes(alice)["lanes"][1]["bars"][-1]["to"] is None
    assert caller.sends(alice, "late") == 0


def test_the_clock_can_advance_past_the_quota(client: PageClient, alice: User) -> None:
    answers(client, alice, "hi")
    client.done("/clock", {"user": "alice", "to": 172800})
    assert Caller(client.wechat).sends(alice, "late") == 45015
    with client.opens() as page:
        (state,) = page.next().data["users"]
        late = page.row("late", "send")
    assert state["replies_until"] <= client.playground.view.session.now
    assert (late["errcode"], late["violation"]) == (45015, True)
    assert "bubble" not in late
    answers(client, alice, "here again")


# -- human agents


def test_an_agent_can_take_and_close_a_session(client: PageClient, alice: User) -> None:
    answers(client, alice, "hi")
    with client.opens() as page:
        client.done("/agents", {"agent": "kf1@gh", "action": "takes", "user": "alice"})
        page.until("rows", lambda data: any(user["agent"] == "kf1@gh" for user in data["users"]))
        client.lets(alice, "says", text="to the agent")
        client.done("/agents", {"agent": "kf1@gh", "action": "says", "user": "alice", "text": "I am here"})
        said = page.row("I am here", "agent")
        assert said["bubble"] == {"side": "agent", "kind": "text", "text": "I am here"}
        refused = client.post("/agents", {"agent": "kf2@gh", "action": "takes", "user": "alice"})
        assert refused.status == 422
        assert "kf1@gh" in refused.error
        client.done("/agents", {"agent": "kf1@gh", "action": "closes", "user": "alice"})
        page.until("rows", lambda data: any(user["agent"] == "" for user in data["users"]))
    assert client.wechat.agent("kf1@gh").saw == [("alice", "to the agent")]
    answers(client, alice, "and back")
    assert "to the agent" not in alice.saw


# -- another session


def test_another_account_starts_a_new_session(client: PageClient, alice: User) -> None:
    answers(client, alice, "hi")
    with client.opens() as page:
        page.row("hi", "send")
        known = page.last_event_id
        client.done("/account", {"kind": "official"})
        session = page.until("session", lambda data: data["session"] == 2)
        assert session["users"] == []
        assert session["account"]["kind"] == "official"
        assert (session["controls"]["mode"], session["controls"]["formats"]) == ("plain", ["xml"])
        bob = client.adds("alice")
        answers(client, bob, "hello")
        page.row("hello", "send")
        assert [row["n"] for row in page.rows] == list(range(len(page.rows)))
        assert page.last_event_id.startswith("2-")
    assert "hi" not in bob.saw
    assert client.get("/rows/0?session=1").status == 404
    with client.opens(known) as page:
        assert page.next().data["session"] == 2
        page.row("hello", "send")
        assert page.rows[0]["n"] == 0


def test_a_session_with_a_failed_bot_can_be_replaced(client: PageClient) -> None:
    client.bot.fails = 1
    with client.opens() as page:
        assert client.post("/account", {"kind": "official"}).status == 422
        data = page.until("session", lambda data: data["session"] == 2)["bot"]
        if data["state"] == "starting":
            data = page.until("bot", lambda data: data["state"] != "starting")
        assert data["state"] == "down"
        assert data["problem"] == "the bot ended while it started: it knows •••"
        client.done("/account", {"kind": "miniprogram"})
        assert page.until("session", lambda data: data["session"] == 3)["account"]["kind"] == "miniprogram"
    answers(client, client.adds("alice"), "hi")


def test_a_restarted_bot_keeps_its_store(tmp_path: Path) -> None:
    plugin = Plugin("count")

    @plugin.fallback
    async def count(ctx: Context) -> str:
        ctx.state["times"] = ctx.state.get("times", 0) + 1
        return f"{ctx.state['times']}"

    with client_for(tmp_path, plugin) as client:
        alice = client.adds("alice")
        client.lets(alice, "says", text="hi")
        alice.waits_for("1")
        callback = client.wechat.callback_url
        client.done("/bot/restart")
        assert client.bot.starts == 2
        assert client.wechat.callback_url != callback
        client.lets(alice, "says", text="hi")
        alice.waits_for("2")


def test_an_exited_bot_is_down(client: PageClient) -> None:
    client.bot.stop()
    with client.opens() as page:
        data = page.next().data["bot"]
        assert (data["state"], data["problem"]) == ("down", "the bot exited unexpectedly: see its log")
        client.done("/bot/restart")
        page.until("bot", lambda data: data["state"] == "up" and not data["problem"])


def assert_busy(client: PageClient) -> None:
    """Check that nothing is possible that starts a bot or a session."""
    refused = [
        *(("/controls", {"mode": "safe"}), ("/controls", {"format": "xml", "in_order": False})),
        *(("/bot/restart", {}), ("/account", {"kind": "official"}), ("/play", STORY.encode())),
    ]
    for path, body in refused:
        answer = client.post(path, body)
        assert answer.status == 409, path
        assert "wait until it is done" in answer.error


def test_actions_are_refused_while_the_bot_starts(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def slowly(wechat: object) -> None:
        entered.set()
        assert may_go_on.wait(30)

    monkeypatch.setattr(client.bot, "restart", slowly)
    first = threading.Thread(target=client.post, args=("/bot/restart",))
    with client.opens() as page:
        first.start()
        assert entered.wait(30)
        page.until("bot", lambda data: data["state"] == "starting")
        assert_busy(client)
        controls(client, in_order=False)
        client.adds("alice")
        may_go_on.set()
        page.until("bot", lambda data: data["state"] == "up")
    first.join()
    assert controls(client)["format"] == "json"


# -- transcripts


def test_a_transcript_passes(client: PageClient, alice: User) -> None:
    with client.opens() as page:
        answer = client.post("/play?name=%E6%95%85%E4%BA%8B.yaml", STORY.encode(), "application/yaml")
        assert (answer.status, answer.json) == (202, {"ok": True})
        data = next_result(page)
        assert data == {"name": "故事.yaml", "done": 5, "steps": 5, "state": "passed", "problems": []}
    with client.opens() as page:
        session = page.next().data
        assert (session["session"], session["play"]) == (2, data)
        assert [user["name"] for user in session["users"]] == ["amy", "bob"]


def test_a_transcript_with_different_replies_fails(client: PageClient) -> None:
    data = client.plays(STORY.replace("CancelTyping, 你好", "CancelTyping, 再见"))
    assert data["state"] == "failed"
    (problem,) = data["problems"]
    assert "step 2 (line 7)" in problem
    assert "再见" in problem


@pytest.mark.parametrize("kind", ["application/yaml", "text/plain", "text/plain; charset=utf-8"])
def test_transcripts_are_accepted_with_several_content_types(client: PageClient, kind: str) -> None:
    with client.opens() as page:
        assert client.post("/play", b"\xef\xbb\xbf" + STORY.encode(), kind).status == 202
        assert next_result(page)["name"] == "transcript.yaml"


BAD_TRANSCRIPTS = [
    (b"nonsense", 1),
    (b"wxbot-transcript: 1\nsteps:\n- amy says: hi\n- amy dances: now\n", 4),
    (b"wxbot-transcript: 1\nsteps:\n- amy says: [\n", 4),
    (b"wxbot-transcript: 99\nsteps: []\n", 1),
    (b"\xff\xfe\x00", 1),
    (b"wxbot-transcript: 1\naccount: official\nformat: json\nsteps: []\n", 3),
    (b"&a [*a]", 1),
    (b"[" * 5000, 1),
]


@pytest.mark.parametrize(("content", "line"), BAD_TRANSCRIPTS)
def test_invalid_transcripts_are_refused(client: PageClient, alice: User, content: bytes, line: int) -> None:
    client.refuses("/play?name=bad.yaml", content, 422, f"bad.yaml, line {line}: ", "application/yaml")
    answers(client, alice, "still the same session")


def test_empty_and_large_transcripts_are_refused(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.refuses("/play", b"", 400, "empty", "application/yaml")
    monkeypatch.setattr("wxbot.playground.page.server.MAX_TRANSCRIPT", len(STORY.encode()) - 1)
    client.refuses("/play", STORY.encode(), 413, "too large", "application/yaml")


def test_a_transcript_can_switch_the_mode(client: PageClient) -> None:
    data = client.plays(
        "wxbot-transcript: 1\naccount: official\nmode: safe\nsteps:\n"
        "- amy says: one\n- amy sees: [Typing, CancelTyping, one]\n- mode: plain\n"
        "- amy says: two\n- amy sees: [Typing, CancelTyping, two]\n"
    )
    assert data["problems"] == []
    assert controls(client)["mode"] == "plain"


def test_a_transcript_fails_if_the_bot_does_not_start(client: PageClient) -> None:
    client.bot.fails = 1
    data = client.plays(STORY)
    assert (data["state"], data["problems"]) == ("failed", ["the bot ended while it started: it knows •••"])
    assert client.plays(STORY)["state"] == "passed"


def test_only_one_transcript_is_replayed_at_a_time(tmp_path: Path) -> None:
    may_go_on = threading.Event()
    plugin = Plugin("waits")

    @plugin.fallback
    def wait(ctx: Context) -> str | None:
        assert may_go_on.wait(30)
        return ctx.text

    with client_for(tmp_path, plugin) as client, client.opens() as page:
        story = STORY.replace("Typing, CancelTyping, ", "").replace("format: json", "format: json\ntyping: false")
        assert client.post("/play", story.encode(), "text/plain").status == 202
        progress(page, lambda data: data["done"] == 1)
        assert_busy(client)
        may_go_on.set()
        assert next_result(page)["problems"] == []
        assert client.plays(story)["state"] == "passed"


UNENDING = """\
wxbot-transcript: 1
mode: plain
steps:
- amy says: hi
- amy sees: [Typing, CancelTyping, hi, what never comes]
- bob says: hi
"""


def test_a_transcript_can_be_stopped(client: PageClient) -> None:
    client.refuses("/play/stop", words="no transcript is being replayed")
    with client.opens() as page:
        assert client.post("/play", UNENDING.encode(), "text/plain").status == 202
        progress(page, lambda data: data["done"] == 1)
        client.done("/play/stop")
        data = next_result(page)
    assert (data["state"], data["problems"]) == ("failed", ["stopped at step 2"])
    assert [user.name for user in client.wechat.users] == ["amy"]
    client.refuses("/play/stop", words="no transcript is being replayed")
    assert client.plays(STORY)["state"] == "passed"


def test_closing_the_server_stops_a_replay(tmp_path: Path) -> None:
    """The replay would wait for a minute. It reports that it was stopped."""
    with client_for(tmp_path) as client, client.opens() as page:
        assert client.post("/play", UNENDING.encode(), "text/plain").status == 202
        progress(page, lambda data: data["done"] == 1)
        playground = client.playground
    assert playground.playing is not None
    assert playground.playing["problems"] == ["stopped at step 2"]


def test_closing_the_server_stops_a_replay_that_is_starting(tmp_path: Path) -> None:
    with client_for(tmp_path) as client:
        assert client.post("/play", UNENDING.encode(), "text/plain").status == 202


EVERYTHING = """\
wxbot-transcript: 1
account: official
mode: compatible
format: xml
typing: false
steps:
- amy follows:
- amy says: 你好
- amy sees: [你好]
- redeliver: amy
- forward: 40
- hold:
- amy says: one
- amy says: two
- release: sent
- amy sees: [one, two]
- fault: typing
  kind: http
  times: 2
- amy says: three
- amy sees: [three]
- clear faults:
- revoke token:
- deliver twice at once: true
- in order: false
- amy says: four
- amy sees: [four]
- kf1@gh takes: amy
- amy says: to the agent
- kf1@gh writes: I am here
  to: amy
- amy sees: [I am here]
- kf1@gh closes: amy
- forward: 0
- mode: plain
- amy says: five
- amy sees: [five]
"""


def test_a_replay_can_be_saved_and_replayed(client: PageClient) -> None:
    assert client.plays(EVERYTHING)["problems"] == []
    kept = saved_without_typing(client)
    controls_used = ("redeliver: amy", "hold", "release: sent", "revoke token", "deliver twice at once: true")
    for words in (*controls_used, "mode: plain"):
        assert words in kept
    assert kept.index("hold") < kept.index("amy says: one") < kept.index("release")
    assert client.plays(kept)["problems"] == []
    assert actions_in(saved_without_typing(client)) == actions_in(kept)


def saved_without_typing(client: PageClient) -> str:
    """Save the transcript without typing, because the order of a reply and CancelTyping may differ in the replay."""
    kept = client.get("/transcript.yaml").body.decode()
    return kept.replace("steps:", "typing: false\nsteps:", 1)


def actions_in(transcript: str) -> list[str]:
    return [line for line in transcript.splitlines() if " sees: " not in line and not line.startswith("- waits: ")]


def test_a_manual_session_can_be_saved_and_replayed(client: PageClient, alice: User) -> None:
    answers(client, alice, "one")
    controls(client, hold=True)
    client.lets(alice, "says", text="two")
    client.done("/redeliver", {"user": "alice"})
    client.done("/release", {"order": "reversed"})
    alice.waits_for("two")
    client.done("/clock", {"forward": 31})
    controls(client, mode="safe", format="xml", deliver_twice_at_once=True, in_order=False)
    answers(client, alice, "three")
    client.done("/faults", {"endpoint": "typing", "kind": "fail", "times": None})
    client.done("/token/revoke")
    answers(client, alice, "four")
    client.done("/faults/clear")
    before = alice.saw.count("CancelTyping")
    client.done("/users/alice/images", SAMPLE_IMAGE, "image/jpeg")
    alice.waits_for("CancelTyping", times=before + 1)
    assert client.plays(saved_without_typing(client))["problems"] == []


def test_a_session_continues_after_a_replay(client: PageClient) -> None:
    assert client.plays(STORY + "- hold:\n- amy says: kept back\n")["problems"] == []
    amy = client.wechat.user("amy")
    assert controls(client)["held"] == 1
    client.done("/release", {})
    amy.waits_for("kept back")
    answers(client, amy, "on")
    client.done("/redeliver", {"user": "amy"})
    client.wechat.waits_until(lambda: [push.what for push in pushes_of(amy)].count("on") == 2)


# -- menus


def test_a_menu_item_can_be_clicked(tmp_path: Path) -> None:
    plugin = Plugin("menu")

    @plugin.text("menu")
    async def menu(ctx: Context) -> MenuReply:
        return MenuReply("Are you happy?", [("101", "Yes"), ("102", "No")], "Thank you")

    with client_for(tmp_path, plugin, echoing(), choice=AccountChoice("official", "plain", "xml")) as client:
        alice = client.adds("alice")
        with client.opens() as page:
            client.lets(alice, "says", text="menu")
            row = page.row("[msgmenu Are you happy?]", "send")
            assert row["bubble"]["items"] == [{"id": "101", "label": "Yes"}, {"id": "102", "label": "No"}]
            client.lets(alice, "clicks_menu_item", label="Yes")
            page.row("Yes", "send")
        assert pushes_of(alice)[-1].body["bizmsgmenuid"] == "101"
