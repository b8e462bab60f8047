"""The body of custom/send has the format of WeChat's documentation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wechat.send_bodies import SENT
from wxbot.errors import InvalidReply
from wxbot.model.media import Media
from wxbot.model.replies import (
    KINDS,
    ImageReply,
    LinkReply,
    MenuReply,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Reply,
    VideoReply,
)
from wxbot.wechat.api.send_body import send_body

WITHOUT_OPTIONS: list[tuple[Reply, dict[str, Any]]] = [
    (VideoReply("M"), {"media_id": "M"}),
    (MusicReply("http://m", "T"), {"musicurl": "http://m", "hqmusicurl": "http://m", "thumb_media_id": "T"}),
    (NewsReply("t", "http://u"), {"articles": [{"title": "t", "url": "http://u"}]}),
    # WeChat's page says that all four are required.
    (LinkReply("t", "http://u"), {"title": "t", "description": "", "url": "http://u", "thumb_url": ""}),
    (MiniProgramPageReply("t", "p", "T"), {"title": "t", "pagepath": "p", "thumb_media_id": "T"}),
    (MenuReply("ok?", [("1", "yes")]), {"head_content": "ok?", "list": [{"id": "1", "content": "yes"}]}),
]


def test_the_table_has_every_type() -> None:
    assert {reply.msg_type for reply, _ in SENT} == set(KINDS)


@pytest.mark.parametrize(("reply", "body"), SENT)
def test_a_reply_is_written_as_in_wechats_documentation(reply: Reply, body: dict[str, Any]) -> None:
    assert send_body("oUSER", reply) == {"touser": "oUSER", **body}


@pytest.mark.parametrize(("reply", "content"), WITHOUT_OPTIONS)
def test_empty_optional_fields_are_omitted(reply: Reply, content: dict[str, Any]) -> None:
    assert send_body("oUSER", reply) == {"touser": "oUSER", "msgtype": reply.msg_type, reply.msg_type: content}


def test_a_file_that_was_not_uploaded_is_rejected() -> None:
    with pytest.raises(InvalidReply, match=r"image of a reply of type image .* must be uploaded"):
        send_body("o", ImageReply(Media(b"x")))
