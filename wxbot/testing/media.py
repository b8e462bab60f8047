"""The files WeChat keeps: three days, by a media_id (docs/wechat.md, "Media").

What may be uploaded is told by the content itself, not by what the uploader calls it. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import Literal

from wxbot.testing.clock import Clock

MediaKind = Literal["image", "voice", "video", "thumb"]

KEPT = 3 * 24 * 3600.0
"""Seconds until a file is gone."""
LIMITS: dict[str, int] = {"image": 2 << 20, "voice": 2 << 20, "video": 10 << 20, "thumb": 64 << 10}
"""Bytes of an upload, at most."""

UNKNOWN_KIND, BAD_FILE, BAD_MEDIA_ID, TOO_BIG, NO_FILE = 40004, 40005, 40007, 40009, 41005

SAMPLE_IMAGE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAKBueIx4ZKCMgoy0qqC+8P//8Nzc8P////////////////////////////////////////////////////"
    "//////wAALCABAAEABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AKAAAAAAAAAAAAAAAAAA"
    "AAAf/9k="
)
"""A grey square, as JPEG."""
SAMPLE_VOICE = b"#!AMR\n" + bytes.fromhex("3c48f51f96660000c0e0") * 4
"""An AMR file of a moment."""
SAMPLE_VIDEO = bytes.fromhex("0000001866747970") + b"isom" + bytes.fromhex("00000200") + b"isommp42"
"""An MP4, as far as its head goes."""

_ALLOWED = {
    "image": {"image/jpeg", "image/png", "image/gif"},
    "voice": {"audio/amr", "audio/mpeg"},
    "video": {"video/mp4"},
    "thumb": {"image/jpeg"},
}
_HEADS = [
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"#!AMR", "audio/amr"),
    (b"ID3", "audio/mpeg"),
]
_ENDINGS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "audio/amr": ".amr",
    "audio/mpeg": ".mp3",
    "video/mp4": ".mp4",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file WeChat keeps until ``expires_at`` (seconds by the clock). ``filename`` may be empty."""

    media_id: str
    kind: MediaKind
    content: bytes = field(repr=False)
    filename: str
    content_type: str
    expires_at: float

    @property
    def saved_as(self) -> str:
        """The name a download has: its own, or the media_id with the ending of its type."""
        return self.filename or self.media_id + _ENDINGS.get(self.content_type, "")


def content_type_of(content: bytes) -> str:
    """What the first bytes say; ``application/octet-stream`` for what WeChat takes nowhere."""
    for head, content_type in _HEADS:
        if content.startswith(head):
            return content_type
    if content[4:8] == b"ftyp":
        return "video/mp4"
    is_frame = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2  # layer III: MP3 without a tag
    return "audio/mpeg" if is_frame else "application/octet-stream"


def refusal_of(kind: str, content: bytes) -> int:
    """errcode of an upload with this content; 0 if WeChat takes it. ``kind`` is one there is."""
    if not content:
        return NO_FILE
    if len(content) > LIMITS[kind]:
        return TOO_BIG
    return 0 if content_type_of(content) in _ALLOWED[kind] else BAD_FILE


class MediaStore:
    """The files of one account. All methods are called under the platform's lock."""

    def __init__(self, clock: Clock) -> None:
        self.uploads: list[StoredFile] = []
        self._clock = clock
        self._kept: dict[str, StoredFile] = {}

    def add(
        self, kind: MediaKind, content: bytes, filename: str = "", content_type: str = "", media_id: str = ""
    ) -> StoredFile:
        """Keep a file from now on, under a new media_id unless one is given."""
        media_id = media_id or secrets.token_urlsafe(48)
        content_type = content_type or content_type_of(content)
        media = StoredFile(media_id, kind, content, filename, content_type, self._clock.now() + KEPT)
        self._kept[media_id] = media
        return media

    def get(self, media_id: object) -> StoredFile | None:
        """The file, if WeChat still has it."""
        media = self._kept.get(media_id) if isinstance(media_id, str) else None
        return media if media is not None and self._clock.now() < media.expires_at else None

    def is_one(self, media_id: object, *kinds: MediaKind) -> bool:
        """Whether WeChat has this file and it is of one of these kinds."""
        media = self.get(media_id)
        return media is not None and media.kind in kinds

    def name_of(self, media_id: str) -> str:
        """How a test reads about it: its filename, or else the media_id."""
        media = self._kept.get(media_id)
        return (media.filename if media else "") or media_id

    def forget(self, media_id: str) -> None:
        """Lose it, as WeChat does at times. Raises KeyError if it never was there."""
        del self._kept[media_id]

    def all(self) -> dict[str, StoredFile]:
        """What is still kept, by media_id."""
        return {media_id: media for media_id in self._kept if (media := self.get(media_id)) is not None}
