"""Read images, voice and video from the sources in a handler's reply, and check them against WeChat's limits.

The functions block, because they read files. Sources: docs/wechat.md, section "Media", and
https://developers.weixin.qq.com/doc/service/api/material/temporary/api_uploadtempmedia
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from wxbot.errors import InvalidReply

MediaKind = Literal["image", "voice", "video", "thumb"]
"""WeChat's types of temporary media; ``thumb`` is the cover image of a video, a song or a mini-program card."""

MIB = 1024 * 1024
MAX_BYTES: Mapping[MediaKind, int] = {
    "image": 2 * MIB,  # WeChat's page says both 2 MB and 10 MB; WXBOT_IMAGE_BYTES replaces this safer limit
    "voice": 2 * MIB,
    "video": 10 * MIB,
    "thumb": 64 * 1024,
}
_TYPES: Mapping[MediaKind, tuple[str, ...]] = {
    "image": ("image/jpeg", "image/png", "image/gif"),
    "voice": ("audio/amr", "audio/mpeg"),
    "video": ("video/mp4",),
    "thumb": ("image/jpeg",),
}
_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "audio/amr": "amr",
    "audio/mpeg": "mp3",
    "video/mp4": "mp4",
}
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_UNSAFE_IN_NAME = re.compile(r'[\x00-\x1f\x7f"\\/\ud800-\udfff]')


@dataclass(frozen=True, slots=True)
class Media:
    """A media file: its bytes, its content type such as ``image/png``, and its name. A reply uploads it to WeChat."""

    content: bytes = field(repr=False)
    content_type: str = ""
    filename: str = ""


MediaSource = str | Path | bytes | BinaryIO | Media
"""A source of a media file: a WeChat media id (``str``), a ``Path``, bytes, an open binary file, or a ``Media``."""


def read_media(source: MediaSource, kind: MediaKind, limits: Mapping[MediaKind, int] = MAX_BYTES) -> str | Media:
    """Return ``source`` as a media id, or as content that WeChat accepts for ``kind``. ``limits`` are in bytes.

    Raises InvalidReply, which names the file and the limit. At most one byte more than the limit is read.
    """
    if isinstance(source, str):
        return _checked_id(source)
    name, content = _named_content(source, kind, limits[kind] + 1)
    return _checked(content, name, kind, limits[kind])


def content_type_of(content: bytes) -> str:
    """Return the content type that the first bytes show; "" if it is none of the types that WeChat accepts."""
    return next((content_type for content_type, fits in _SIGNATURES.items() if fits(content)), "")


def is_media_id(text: str) -> bool:
    """Return True if ``text`` has the form of a WeChat media id."""
    return _MEDIA_ID.fullmatch(text) is not None


def _checked_id(media_id: str) -> str:
    if is_media_id(media_id):
        return media_id
    raise InvalidReply(f"{media_id[:80]!r} is not a WeChat media id; for a file, use pathlib.Path({media_id[:80]!r})")


def _named_content(source: Path | bytes | BinaryIO | Media, kind: MediaKind, max_bytes: int) -> tuple[str, bytes]:
    if isinstance(source, Media):
        return _printable(source.filename) or f"the {kind}", _bytes_of(source, kind)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the {kind}", bytes(source)
    if isinstance(source, Path):
        return _printable(source), _read_file(source, kind, max_bytes)
    if callable(getattr(source, "read", None)):
        return _printable(getattr(source, "name", f"the {kind}")), _read_open(source, kind, max_bytes)
    raise InvalidReply(
        f"{type(source).__name__} cannot be sent as {kind}; use a media id, a pathlib.Path, bytes or an open"
        " binary file"
    )


def _read_file(path: Path, kind: MediaKind, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else ""
        raise InvalidReply(f"the {kind} {_printable(path)} cannot be read: {reason or error}") from None


def _read_open(file: BinaryIO, kind: MediaKind, max_bytes: int) -> bytes:
    content = bytearray()
    while len(content) < max_bytes:  # a pipe or a network stream may return only a part
        try:
            part: object = file.read(max_bytes - len(content))
        except (OSError, ValueError) as error:
            raise InvalidReply(f"the open file for a reply of type {kind} cannot be read: {error}") from None
        if isinstance(part, str):
            raise InvalidReply(f"the open file for a reply of type {kind} returns text; open it with 'rb'")
        if not isinstance(part, bytes | bytearray | memoryview):
            raise InvalidReply(f"the open file for a reply of type {kind} returns {type(part).__name__}, not bytes")
        if not part:
            break
        content += part
    return bytes(content)


def _bytes_of(media: Media, kind: MediaKind) -> bytes:
    content: object = media.content
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    raise InvalidReply(
        f"the content of the Media for a reply of type {kind} must be bytes, not {type(content).__name__}"
    )


def _printable(name: object) -> str:
    """Return a file's name as text that can be encoded, because a name that is not UTF-8 has lone surrogates."""
    return str(name).encode(errors="replace").decode()


def _checked(content: bytes, name: str, kind: MediaKind, limit: int) -> Media:
    if not content:
        raise InvalidReply(f"{name} is empty")
    if len(content) > limit:
        raise InvalidReply(f"{name} has more than {limit:,} bytes, the limit of WeChat for {kind}")
    content_type = content_type_of(content)
    if content_type not in _TYPES[kind]:
        wanted = ", ".join(_EXTENSIONS[each].upper() for each in _TYPES[kind])
        found = f"is {_EXTENSIONS[content_type].upper()}" if content_type else "has an unknown type"
        raise InvalidReply(f"{name} {found}; WeChat accepts {wanted} as {kind}")
    return Media(content, content_type, _filename(name, kind, content_type))


def _filename(name: str, kind: MediaKind, content_type: str) -> str:
    """Return the file name with the extension of ``content_type``, because WeChat judges a file by its extension."""
    extension = _EXTENSIONS[content_type]
    stem = _UNSAFE_IN_NAME.sub("", Path(name).name)[-80:]
    if not stem or stem == f"the {kind}":
        stem = kind
    extensions = (".jpg", ".jpeg") if extension == "jpg" else (f".{extension}",)
    return stem if stem.lower().endswith(extensions) else f"{stem}.{extension}"


def _is_mp3(content: bytes) -> bool:
    return content.startswith(b"ID3") or (len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2)


_SIGNATURES: Mapping[str, Callable[[bytes], bool]] = {
    "image/jpeg": lambda content: content.startswith(b"\xff\xd8\xff"),
    "image/png": lambda content: content.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/gif": lambda content: content.startswith((b"GIF87a", b"GIF89a")),
    "audio/amr": lambda content: content.startswith(b"#!AMR"),
    "video/mp4": lambda content: content[4:8] == b"ftyp",
    "audio/mpeg": _is_mp3,
}
