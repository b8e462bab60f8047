"""Pictures, voice and video as bytes: read from what a handler gives, and checked against WeChat's rules. Blocking.

Sources: docs/wechat.md, section "Media", and
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
"""WeChat's types of temporary media; ``thumb`` is the small picture of a video, a song or a mini-program card."""

MIB = 1024 * 1024
MAX_BYTES: Mapping[MediaKind, int] = {
    "image": 2 * MIB,  # the page says 2 MB and 10 MB: the setting WXBOT_IMAGE_BYTES replaces the safer one
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
_NAMES = {
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
    """A file: its bytes, its type such as ``image/png``, and a name. Given to a reply, it is uploaded."""

    content: bytes = field(repr=False)
    content_type: str = ""
    filename: str = ""


MediaSource = str | Path | bytes | BinaryIO | Media
"""What a reply takes: a media id of WeChat's (``str``), a file (``Path``), bytes, an open binary file, a ``Media``."""


def read_media(source: MediaSource, kind: MediaKind, limits: Mapping[MediaKind, int] = MAX_BYTES) -> str | Media:
    """``source`` as a media id, or as content that WeChat takes for ``kind``. ``limits`` are in bytes.

    Raises InvalidReply that names the file and the limit. Nothing more than the limit is read.
    """
    if isinstance(source, str):
        return _checked_id(source)
    name, content = _named_content(source, kind, limits[kind] + 1)
    return _checked(content, name, kind, limits[kind])


def content_type_of(content: bytes) -> str:
    """The type of a file by its first bytes, as far as WeChat's rules need it; empty for any other."""
    return next((kind for kind, fits in _SIGNS.items() if fits(content)), "")


def is_media_id(text: str) -> bool:
    """Whether it could be one of WeChat's."""
    return _MEDIA_ID.fullmatch(text) is not None


def _checked_id(media_id: str) -> str:
    if is_media_id(media_id):
        return media_id
    raise InvalidReply(
        f"{media_id[:80]!r} is no media id of WeChat's; for a file, give pathlib.Path({media_id[:80]!r})"
    )


def _named_content(source: Path | bytes | BinaryIO | Media, kind: MediaKind, most: int) -> tuple[str, bytes]:
    if isinstance(source, Media):
        return _shown(source.filename) or f"the {kind}", _bytes_of(source, kind)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the {kind}", bytes(source)
    if isinstance(source, Path):
        return _shown(source), _read_file(source, kind, most)
    if callable(getattr(source, "read", None)):
        return _shown(getattr(source, "name", f"the {kind}")), _read_open(source, kind, most)
    raise InvalidReply(
        f"{type(source).__name__} is nothing that can be sent as {kind}: give a media id, a pathlib.Path, bytes or an"
        " open binary file"
    )


def _read_file(path: Path, kind: MediaKind, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else ""
        raise InvalidReply(f"the {kind} {_shown(path)} cannot be read: {reason or error}") from None


def _read_open(file: BinaryIO, kind: MediaKind, most: int) -> bytes:
    content = bytearray()
    while len(content) < most:  # a pipe or a network stream gives what it has, which may be a part
        try:
            part: object = file.read(most - len(content))
        except (OSError, ValueError) as error:
            raise InvalidReply(f"the open file for a reply of the kind {kind} cannot be read: {error}") from None
        if isinstance(part, str):
            raise InvalidReply(f"the open file for a reply of the kind {kind} gives text: open it with 'rb'")
        if not isinstance(part, bytes | bytearray | memoryview):
            raise InvalidReply(f"the open file for a reply of the kind {kind} gives {type(part).__name__}, not bytes")
        if not part:
            break
        content += part
    return bytes(content)


def _bytes_of(media: Media, kind: MediaKind) -> bytes:
    content: object = media.content
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    raise InvalidReply(
        f"the content of the Media for a reply of the kind {kind} must be bytes, not {type(content).__name__}"
    )


def _shown(name: object) -> str:
    """A file's name as text that can be written anywhere: names that are not UTF-8 hold halves of characters."""
    return str(name).encode(errors="replace").decode()


def _checked(content: bytes, name: str, kind: MediaKind, limit: int) -> Media:
    if not content:
        raise InvalidReply(f"{name} is empty")
    if len(content) > limit:
        raise InvalidReply(f"{name} has more than {limit:,} bytes, the most that WeChat takes as {kind}")
    content_type = content_type_of(content)
    if content_type not in _TYPES[kind]:
        wanted = ", ".join(_NAMES[each].upper() for each in _TYPES[kind])
        found = f"is {_NAMES[content_type].upper()}" if content_type else "is of an unknown type"
        raise InvalidReply(f"{name} {found}; WeChat takes {wanted} as {kind}")
    return Media(content, content_type, _filename(name, kind, content_type))


def _filename(name: str, kind: MediaKind, content_type: str) -> str:
    """A name with the right ending: WeChat goes by it."""
    ending = _NAMES[content_type]
    stem = _UNSAFE_IN_NAME.sub("", Path(name).name)[-80:]
    if not stem or stem == f"the {kind}":
        stem = kind
    endings = (".jpg", ".jpeg") if ending == "jpg" else (f".{ending}",)
    return stem if stem.lower().endswith(endings) else f"{stem}.{ending}"


def _is_mp3(content: bytes) -> bool:
    return content.startswith(b"ID3") or (len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2)


_SIGNS: Mapping[str, Callable[[bytes], bool]] = {
    "image/jpeg": lambda content: content.startswith(b"\xff\xd8\xff"),
    "image/png": lambda content: content.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/gif": lambda content: content.startswith((b"GIF87a", b"GIF89a")),
    "audio/amr": lambda content: content.startswith(b"#!AMR"),
    "video/mp4": lambda content: content[4:8] == b"ftyp",
    "audio/mpeg": _is_mp3,
}
