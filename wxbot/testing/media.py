"""Temporary files, which WeChat stores for three days under a media_id (docs/wechat.md, "Media").

The type of an upload is detected from its content, not from its name. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import Literal

from wxbot.testing.clock import Clock

MediaKind = Literal["image", "voice", "video", "thumb"]

FILE_LIFETIME = 3 * 24 * 3600.0
"""Seconds after which a file expires."""
LIMITS: dict[str, int] = {"image": 2 << 20, "voice": 2 << 20, "video": 10 << 20, "thumb": 64 << 10}
"""Maximum size of an upload in bytes, by kind."""

UNKNOWN_KIND, BAD_FILE, BAD_MEDIA_ID, TOO_BIG, NO_FILE = 40004, 40005, 40007, 40009, 41005

SAMPLE_IMAGE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAKBueIx4ZKCMgoy0qqC+8P//8Nzc8P////////////////////////////////////////////////////"
    "//////wAALCABAAEABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AKAAAAAAAAAAAAAAAAAA"
    "AAAf/9k="
)
"""A JPEG image: a grey square."""
SAMPLE_VOICE = b"#!AMR\n" + bytes.fromhex("3c48f51f96660000c0e0") * 4
"""A very short AMR recording."""
SAMPLE_VIDEO = bytes.fromhex("0000001866747970") + b"isom" + bytes.fromhex("00000200") + b"isommp42"
"""The first bytes of an MP4 video, from which its type is detected."""

_ALLOWED = {
    "image": {"image/jpeg", "image/png", "image/gif"},
    "voice": {"audio/amr", "audio/mpeg"},
    "video": {"video/mp4"},
    "thumb": {"image/jpeg"},
}
_SIGNATURES = [
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"#!AMR", "audio/amr"),
    (b"ID3", "audio/mpeg"),
]
_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "audio/amr": ".amr",
    "audio/mpeg": ".mp3",
    "video/mp4": ".mp4",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that WeChat stores until ``expires_at`` (seconds by the clock). ``filename`` may be empty."""

    media_id: str
    kind: MediaKind
    content: bytes = field(repr=False)
    filename: str
    content_type: str
    expires_at: float

    @property
    def saved_as(self) -> str:
        """Return the file name of a download: its own, or the media_id with the extension of its type."""
        return self.filename or self.media_id + _EXTENSIONS.get(self.content_type, "")


def content_type_of(content: bytes) -> str:
    """Return the type that the first bytes show; ``application/octet-stream`` for a type that WeChat never accepts."""
    for signature, content_type in _SIGNATURES:
        if content.startswith(signature):
            return content_type
    if content[4:8] == b"ftyp":
        return "video/mp4"
    is_mp3_frame = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2  # an MP3 without an ID3 tag
    return "audio/mpeg" if is_mp3_frame else "application/octet-stream"


def refusal_of(kind: str, content: bytes) -> int:
    """Return the errcode of an upload; 0 if WeChat accepts it. ``kind`` must be a key of LIMITS."""
    if not content:
        return NO_FILE
    if len(content) > LIMITS[kind]:
        return TOO_BIG
    return 0 if content_type_of(content) in _ALLOWED[kind] else BAD_FILE


class MediaStore:
    """The files of one account. Call all methods with the platform's lock held."""

    def __init__(self, clock: Clock) -> None:
        self.uploads: list[StoredFile] = []
        self._clock = clock
        self._files: dict[str, StoredFile] = {}

    def add(
        self, kind: MediaKind, content: bytes, filename: str = "", content_type: str = "", media_id: str = ""
    ) -> StoredFile:
        """Store a file, by default under a new media_id."""
        media_id = media_id or secrets.token_urlsafe(48)
        content_type = content_type or content_type_of(content)
        media = StoredFile(media_id, kind, content, filename, content_type, self._clock.now() + FILE_LIFETIME)
        self._files[media_id] = media
        return media

    def get(self, media_id: object) -> StoredFile | None:
        """Return the file; None if it is unknown or expired."""
        media = self._files.get(media_id) if isinstance(media_id, str) else None
        return media if media is not None and self._clock.now() < media.expires_at else None

    def is_one(self, media_id: object, *kinds: MediaKind) -> bool:
        """Return True if the file exists and is of one of these kinds."""
        media = self.get(media_id)
        return media is not None and media.kind in kinds

    def name_of(self, media_id: str) -> str:
        """Return a readable name of the file: its filename, or the media_id if it has none."""
        media = self._files.get(media_id)
        return (media.filename if media else "") or media_id

    def forget(self, media_id: str) -> None:
        """Delete a file, because WeChat sometimes loses one. Raises KeyError if it is unknown."""
        del self._files[media_id]

    def all(self) -> dict[str, StoredFile]:
        """Return all files that have not expired, by media_id."""
        return {media_id: media for media_id in self._files if (media := self.get(media_id)) is not None}
