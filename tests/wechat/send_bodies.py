"""Every type of reply with its body of custom/send, copied from WeChat's pages."""

from __future__ import annotations

from typing import Any

from wxbot.model.replies import (
    ArticleReply,
    ImageReply,
    LinkReply,
    MenuReply,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Reply,
    TextReply,
    VideoReply,
    VoiceReply,
)

SENT: list[tuple[Reply, dict[str, Any]]] = [
    (TextReply("你好"), {"msgtype": "text", "text": {"content": "你好"}}),
    (ImageReply("M"), {"msgtype": "image", "image": {"media_id": "M"}}),
    (VoiceReply("M"), {"msgtype": "voice", "voice": {"media_id": "M"}}),
    (
        VideoReply("M", "T", "t", "d"),
        {"msgtype": "video", "video": {"media_id": "M", "thumb_media_id": "T", "title": "t", "description": "d"}},
    ),
    (
        MusicReply("http://m", "T", "t", "d", "http://hq"),
        {
            "msgtype": "music",
            "music": {
                "title": "t",
                "description": "d",
                "musicurl": "http://m",
                "hqmusicurl": "http://hq",
                "thumb_media_id": "T",
            },
        },
    ),
    (
        NewsReply("t", "http://u", "d", "http://p"),
        {
            "msgtype": "news",
            "news": {"articles": [{"title": "t", "description": "d", "url": "http://u", "picurl": "http://p"}]},
        },
    ),
    (
        LinkReply("t", "http://u", "d", "http://p"),
        {"msgtype": "link", "link": {"title": "t", "description": "d", "url": "http://u", "thumb_url": "http://p"}},
    ),
    (
        MiniProgramPageReply("t", "pages/a?x=1", "T", "wx1"),
        {
            "msgtype": "miniprogrampage",
            "miniprogrampage": {"title": "t", "appid": "wx1", "pagepath": "pages/a?x=1", "thumb_media_id": "T"},
        },
    ),
    (
        MenuReply("ok?", [("101", "yes"), ("102", "no")], "thanks"),
        {
            "msgtype": "msgmenu",
            "msgmenu": {
                "head_content": "ok?",
                "list": [{"id": "101", "content": "yes"}, {"id": "102", "content": "no"}],
                "tail_content": "thanks",
            },
        },
    ),
    (ArticleReply("A"), {"msgtype": "mpnewsarticle", "mpnewsarticle": {"article_id": "A"}}),
    (TextReply("a", ai=True), {"msgtype": "text", "text": {"content": "a"}, "aimsgcontext": {"is_ai_msg": 1}}),
    (TextReply("a", ai=False), {"msgtype": "text", "text": {"content": "a"}, "aimsgcontext": {"is_ai_msg": 0}}),
    (
        ImageReply("M", agent="test1@account"),
        {"msgtype": "image", "image": {"media_id": "M"}, "customservice": {"kf_account": "test1@account"}},
    ),
]
