"""Test FakeCloud: API calls from a container, and pushes into a container."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.testing.bot import DOWNLOAD, UPLOAD, Caller, Receiver
from wxbot.testing import FakeCloud, FakeWeChat, ManualClock, User, envelope
from wxbot.testing.media import SAMPLE_IMAGE

ACCOUNT = {"appid": "wxOWNER"}

TYPING = "/cgi-bin/message/custom/typing"
SEND = "/cgi-bin/message/custom/send"


class Contained(Caller):
    """A bot in a container. Its calls have no token unless the test adds one."""

    def __init__(self, cloud: FakeCloud, wechat: FakeWeChat) -> None:
        super().__init__(wechat)
        self.api_base = cloud.api_base

    def types(self, user: User, **query: str) -> int:
        return int(self.post(TYPING, {"touser": user.openid, "command": "Typing"}, **query).get("errcode", 999))

    def writes(self, user: User, text: str, **query: str) -> int:
        body = {"touser": user.openid, "msgtype": "text", "text": {"content": text}}
        return int(self.post(SEND, body, **query)["errcode"])


@pytest.fixture
def cloud(wechat: FakeWeChat) -> Iterator[FakeCloud]:
    with FakeCloud(wechat) as cloud:
        yield cloud


@pytest.fixture
def bot(cloud: FakeCloud, wechat: FakeWeChat) -> Contained:
    return Contained(cloud, wechat)


@pytest.fixture
def alice(wechat: FakeWeChat) -> User:
    alice = wechat.user("alice")
    alice.says("hi")
    return alice


# -- the interface service


def test_calls_need_no_token(bot: Contained, alice: User, wechat: FakeWeChat) -> None:
    assert bot.types(alice) == 0
    assert bot.types(alice) == 45081
    assert len(bot.response_headers["x-openapi-seqid"]) == 32
    assert bot.writes(alice, "hello") == 0
    assert alice.saw == ["Typing", "hello"]
    assert [record.what for record in wechat.violations] == ["Typing"]
    assert wechat.token_fetches == 0


def test_files_are_uploaded_and_downloaded_without_a_token(bot: Contained, wechat: FakeWeChat) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="media"; filename="cat.jpg"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = bot.exchange("POST", UPLOAD, {"type": "image"}, head + SAMPLE_IMAGE + b"\r\n--B--\r\n", form)[1]
    media_id = json.loads(answer)["media_id"]
    assert bot.exchange("GET", DOWNLOAD, {"media_id": media_id}, None) == (200, SAMPLE_IMAGE)
    assert "x-openapi-seqid" in bot.response_headers
    assert wechat.media[media_id].filename == "cat.jpg"


def test_a_call_with_an_access_token_is_rejected(bot: Contained, alice: User) -> None:
    token = Caller(bot.wechat).fetch()
    assert bot.types(alice, access_token=token) == 42001


def test_only_listed_paths_may_be_called(bot: Contained, alice: User, cloud: FakeCloud) -> None:
    assert bot.get("/cgi-bin/getcallbackip")["errcode"] == 85107
    assert bot.stable()["errcode"] == 85107
    cloud.paths.discard(TYPING)
    cloud.paths.add("/cgi-bin/getcallbackip")
    assert bot.types(alice) == 85107
    assert bot.get("/cgi-bin/getcallbackip")["ip_list"] == ["127.0.0.1"]


def test_calls_are_rejected_while_the_interface_service_is_off_or_starting(
    bot: Contained, alice: User, cloud: FakeCloud
) -> None:
    cloud.ready = False
    assert bot.types(alice) == 41001
    assert [(record.errcode, record.what) for record in alice.calls] == [(41001, "Typing")]
    cloud.ready = True
    assert bot.types(alice) == 0


def test_faults_of_the_account_apply_to_cloud_calls(bot: Contained, alice: User, wechat: FakeWeChat) -> None:
    wechat.faults.fail("typing", -1)
    assert [bot.types(alice), bot.types(alice)] == [-1, 0]


def test_answers_may_have_camel_case_keys(bot: Contained, alice: User, cloud: FakeCloud) -> None:
    cloud.spelling = "errCode"
    body = {"touser": alice.openid, "command": "Typing"}
    assert bot.post(TYPING, body) == {"errCode": 0, "errMsg": "ok"}
    refused = bot.post(TYPING, body)
    assert set(refused) == {"errCode", "errMsg"}
    assert refused["errCode"] == 45081


def test_several_accounts_share_an_environment(clock: ManualClock, wechat: FakeWeChat, alice: User) -> None:
    with FakeWeChat(clock, appid="wxOTHER") as other, FakeCloud(wechat, other) as cloud:
        bot, bob = Contained(cloud, other), other.user("bob")
        bob.says("hi")
        assert bot.writes(alice, "from the owner") == 0
        assert bot.writes(alice, "from the owner", from_appid="wxOWNER") == 0
        assert bot.writes(bob, "from the other") == 40003
        assert bot.writes(bob, "from the other", from_appid="wxOTHER") == 0
        assert bot.writes(bob, "from nobody", from_appid="wxNOBODY") == 85105
        assert (alice.saw, bob.saw) == (["from the owner"] * 2, ["from the other"])


def test_settings_has_the_environment_variables_of_a_container(clock: ManualClock, wechat: FakeWeChat) -> None:
    with FakeWeChat(clock, appid="wxOTHER", account_kind="official") as other, FakeCloud(wechat, other) as cloud:
        assert cloud.settings() == {
            "WXBOT_APPID": "wxOWNER",
            "WXBOT_ACCOUNT_KIND": "miniprogram",
            "WXBOT_CLOUD_CALL": "open",
            "WXBOT_API_BASE": cloud.api_base,
        }
        settings = cloud.settings(other)
        assert (settings["WXBOT_APPID"], settings["WXBOT_ACCOUNT_KIND"]) == ("wxOTHER", "official")
        assert not cloud.token_file.exists()
    with pytest.raises(ValueError, match="owner"):
        FakeCloud()


# -- the token file


@pytest.fixture
def tokens(wechat: FakeWeChat) -> Iterator[FakeCloud]:
    with FakeCloud(wechat, token_mode=True) as cloud:
        yield cloud


def test_calls_need_the_token_of_the_file(tokens: FakeCloud, wechat: FakeWeChat, alice: User) -> None:
    bot = Contained(tokens, wechat)
    settings = tokens.settings()
    assert (settings["WXBOT_CLOUD_CALL"], settings["WXBOT_CLOUD_TOKEN_FILE"]) == ("token", str(tokens.token_file))
    token = tokens.token_file.read_text()
    assert bot.types(alice, cloudbase_access_token=token) == 0
    assert bot.types(alice) == 41001
    assert bot.types(alice, access_token=token) == 40001
    assert bot.types(alice, cloudbase_access_token="guess") == 40001
    tokens.paths.clear()
    assert bot.types(alice, cloudbase_access_token=token) == 85107
    assert token not in repr([(record, record.body) for record in wechat.timeline])


def test_a_cloud_token_is_valid_for_30_minutes_or_until_it_is_revoked(
    tokens: FakeCloud, wechat: FakeWeChat, alice: User, clock: ManualClock
) -> None:
    bot, old = Contained(tokens, wechat), tokens.token_file.read_text()
    clock.advance(600)
    new = tokens.rotate_token()
    assert tokens.token_file.read_text() == new != old
    clock.advance(1199)
    assert bot.writes(alice, "1", cloudbase_access_token=old) == 0
    clock.advance(1)
    assert bot.writes(alice, "2", cloudbase_access_token=old) == 40001
    assert bot.writes(alice, "2", cloudbase_access_token=new) == 0
    newest = tokens.rotate_token(revoke=True)
    assert bot.writes(alice, "3", cloudbase_access_token=new) == 40001
    assert bot.writes(alice, "3", cloudbase_access_token=newest) == 0


def test_close_ends_all_threads_and_deletes_the_token_file(wechat: FakeWeChat, alice: User) -> None:
    before = set(threading.enumerate())
    with FakeCloud(wechat, token_mode=True) as cloud:
        token_file = cloud.token_file
        assert token_file.exists()
        cloud.close()
    gc.collect()
    assert set(threading.enumerate()) == before
    assert not token_file.exists()
    assert Caller(wechat).typing(alice) == 0


# -- pushes into the container


@pytest.fixture
def container() -> Iterator[Receiver]:
    with Receiver() as container:
        yield container


def pushes_into(container: Receiver, **choices: Any) -> FakeWeChat:
    return FakeWeChat(ManualClock(), mode="cloud", callback_url=container.url, retry_pause=0, **choices)


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("kind", ["miniprogram", "official"])
def test_a_push_into_a_container_is_not_encrypted_and_not_signed(container: Receiver, kind: Any, form: Any) -> None:
    with pushes_into(container, account_kind=kind, format=form) as wechat:
        alice = wechat.user("alice")
        alice.says("hi").wait()
        received = container.received[0]
        assert envelope.from_text(received.body, form)["Content"] == "hi"
        assert received.query == {}
        assert "WXBOT_AES_KEY" not in wechat.settings()
        headers = {name.upper(): value for name, value in received.headers.items() if name.upper().startswith("X-WX")}
        assert headers == {
            "X-WX-SOURCE": "wx_client",
            "X-WX-OPENID": alice.openid,
            "X-WX-APPID": wechat.appid,
            "X-WX-ENV": wechat.cloud_env,
        }
        wechat.mode = "plain"
        if form == "xml" or kind == "miniprogram":
            alice.says("hi").wait()
            assert "signature" in container.received[1].query
            assert not [name for name in container.received[1].headers if name.upper().startswith("X-WX")]


def test_pushes_about_another_account_have_other_headers(container: Receiver, wechat: FakeWeChat) -> None:
    with pushes_into(container, appid="wxOTHER") as other:
        with FakeCloud(wechat, other):
            other.user("bob").says("hi").wait()
        other.user("bob").says("hi").wait()
        bob = other.user("bob").openid
    shared, own = ({name.upper(): value for name, value in one.headers.items()} for one in container.received)
    assert (shared["X-WX-APPID"], shared["X-WX-FROM-APPID"], shared["X-WX-FROM-OPENID"]) == ("wxOWNER", "wxOTHER", bob)
    assert "X-WX-OPENID" not in shared
    assert (own["X-WX-APPID"], own["X-WX-OPENID"]) == ("wxOTHER", bob)
    assert "X-WX-FROM-OPENID" not in own


@pytest.mark.parametrize("form", ["xml", "json"])
def test_passive_replies_of_a_container_are_not_encrypted(container: Receiver, form: Any) -> None:
    with pushes_into(container, account_kind="official", format=form) as wechat:
        alice = wechat.user("alice")
        answer: dict[str, Any] = {"ToUserName": alice.openid, "FromUserName": "gh_0123456789ab", "CreateTime": 1}
        article = {"Title": "Cats", "Url": "http://x"}
        articles = {"item": article} if form == "xml" else [article]
        answer |= {"MsgType": "news", "ArticleCount": 1, "Articles": articles}
        container.answer = lambda received: (200, envelope.to_text(answer, form).encode())
        assert alice.says("hi").wait().outcome == "success"
        assert alice.saw == ["[news Cats]"]
        sealed = envelope.encrypt(b"{}", wechat.appid, wechat.keys.aes_key)
        container.answer = lambda received: (200, envelope.to_text({"Encrypt": sealed}, form).encode())
        assert alice.says("hi").wait().outcome == "refused"


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("json", b'{"action":"CheckContainerPath"}'),
        ("xml", b"<xml><action><![CDATA[CheckContainerPath]]></action></xml>"),
    ],
)
def test_probe_sends_the_test_request_for_the_container_path(container: Receiver, form: Any, body: bytes) -> None:
    with pushes_into(container, format=form) as wechat:
        assert wechat.probe()
        received = container.received[0]
        headers = {name.upper(): value for name, value in received.headers.items()}
        assert (received.method, received.query, received.body) == ("POST", {}, body)
        assert headers["X-WX-SOURCE"] == "wx_client"
        assert "X-WX-OPENID" not in headers
        assert wechat.timeline == []


@pytest.mark.parametrize(
    ("answer", "well"),
    [((200, b""), True), ((200, b'"success"'), False), ((200, b"{}"), False), ((403, b"success"), False)],
)
def test_probe_accepts_only_success_or_an_empty_body(container: Receiver, answer: Any, well: bool) -> None:
    container.answer = lambda received: answer
    with pushes_into(container) as wechat:
        assert wechat.probe() is well
