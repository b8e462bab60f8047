"""Test media files: their sources, types, names and limits, and the errors of invalid ones."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.errors import InvalidReply
from wxbot.model.media import MAX_BYTES, Media, MediaKind, content_type_of, read_media

JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 20
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
GIF = b"GIF89a" + b"\0" * 20
AMR = b"#!AMR\n" + b"\0" * 20
MP3 = b"ID3\x04" + b"\0" * 20
MP3_FRAME = b"\xff\xfb\x90\x64" + b"\0" * 20
MP4 = b"\0\0\0\x18ftypisom" + b"\0" * 20
TYPES: Mapping[str, tuple[bytes, ...]] = {
    "image/jpeg": (JPEG,),
    "image/png": (PNG,),
    "image/gif": (GIF, b"GIF87a" + b"\0" * 20),
    "audio/amr": (AMR, b"#!AMR-WB\n"),
    "audio/mpeg": (MP3, MP3_FRAME, b"\xff\xf3\x90", b"\xff\xf2\x90"),
    "video/mp4": (MP4,),
    "": (b"", b"hello", b"\xff", b"\xff\xf1\x50", b"RIFF\0\0\0\0WEBP", b"%PDF-1.7", b"<svg/>", b"\xff\xd8"),
}
GOOD: list[tuple[MediaKind, bytes, str]] = [
    ("image", JPEG, "image/jpeg"),
    ("image", PNG, "image/png"),
    ("image", GIF, "image/gif"),
    ("voice", AMR, "audio/amr"),
    ("voice", MP3, "audio/mpeg"),
    ("voice", MP3_FRAME, "audio/mpeg"),
    ("video", MP4, "video/mp4"),
    ("thumb", JPEG, "image/jpeg"),
]
KINDS: tuple[MediaKind, ...] = get_args(MediaKind)


def error_of(source: Any, kind: MediaKind = "image", limits: Mapping[MediaKind, int] = MAX_BYTES) -> str:
    with pytest.raises(InvalidReply) as caught:
        read_media(source, kind, limits)
    assert caught.value.__cause__ is None
    return str(caught.value)


def accepted(source: Any, kind: MediaKind = "image") -> Media:
    media = read_media(source, kind)
    assert isinstance(media, Media)
    return media


@pytest.mark.parametrize(("content_type", "contents"), TYPES.items())
def test_the_type_is_detected_from_the_first_bytes(content_type: str, contents: tuple[bytes, ...]) -> None:
    assert {content_type_of(content) for content in contents} == {content_type}


@given(st.binary())
def test_any_bytes_have_a_known_type_or_none(content: bytes) -> None:
    assert content_type_of(content) in TYPES


@pytest.mark.parametrize(("kind", "content", "content_type"), GOOD)
def test_valid_files_are_accepted_from_every_source(
    kind: MediaKind, content: bytes, content_type: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert accepted(io.BytesIO(content), kind).filename.startswith(f"{kind}.")
    with path.open("rb") as file:
        assert accepted(file, kind).filename.startswith("file.")
        for source in (content, bytearray(content), memoryview(content), io.BytesIO(content), path, file):
            if file.tell():
                file.seek(0)
            media = accepted(source, kind)
            assert (media.content, media.content_type) == (content, content_type)
    assert accepted(Media(content, "text/plain", "x"), kind).content_type == content_type, (
        "the type is detected from the content"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_type_is_refused(kind: MediaKind) -> None:
    good = {content_type for each, _, content_type in GOOD if each == kind}
    for content_type, contents in TYPES.items():
        if content_type not in good and contents[0]:
            assert f"as {kind}" in error_of(contents[0], kind)


def test_the_error_names_the_file_its_type_and_the_accepted_types(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(MP4)
    assert error_of(path) == f"{path} is MP4; WeChat accepts JPG, PNG, GIF as image"
    assert error_of(b"hello") == "the image has an unknown type; WeChat accepts JPG, PNG, GIF as image"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_at_the_limit_is_accepted_and_one_byte_more_is_not(kind: MediaKind) -> None:
    start = next(content for each, content, _ in GOOD if each == kind)
    largest = start.ljust(MAX_BYTES[kind], b"\0")
    assert len(accepted(largest, kind).content) == MAX_BYTES[kind]
    error = error_of(largest + b"\0", kind)
    assert error == f"the {kind} has more than {MAX_BYTES[kind]:,} bytes, the limit of WeChat for {kind}"


def test_the_default_limits_are_wechats_and_can_be_changed() -> None:
    assert MAX_BYTES == {"image": 2_097_152, "voice": 2_097_152, "video": 10_485_760, "thumb": 65_536}
    assert "more than 10 bytes" in error_of(PNG, "image", {**MAX_BYTES, "image": 10})
    assert read_media(PNG, "image", {**MAX_BYTES, "image": len(PNG)}) == Media(PNG, "image/png", "image.png")


def test_no_more_than_the_limit_is_read() -> None:
    sizes: list[int] = []

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            sizes.append(size)
            return b"\xff\xd8\xff" + b"\0" * (size - 3)

    assert "more than 65,536 bytes" in error_of(Endless(), "thumb")
    assert sizes == [65_537]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("cat.png", PNG, "cat.png"),
        ("cat.PNG", PNG, "cat.PNG"),
        ("cat.jpeg", JPEG, "cat.jpeg"),
        ("cat", PNG, "cat.png"),
        ("cat.txt", PNG, "cat.txt.png"),
        ("cat.jpeg", PNG, "cat.jpeg.png"),
        ("a/b/../cat.png", PNG, "cat.png"),
        ('c"a\\t\n.png', PNG, "cat.png"),
        ("图.png", PNG, "图.png"),
        ("x" * 200, PNG, "x" * 80 + ".png"),
        ("", PNG, "image.png"),
        ("/", PNG, "image.png"),
    ],
)
def test_a_file_name_gets_the_right_extension_and_no_unsafe_characters(
    name: str, content: bytes, expected: str
) -> None:
    assert accepted(Media(content, "", name)).filename == expected


@pytest.mark.parametrize("media_id", ["M", "aB3_-" * 20])
def test_a_media_id_is_unchanged(media_id: str) -> None:
    assert read_media(media_id, "image") == media_id


@pytest.mark.parametrize("text", ["", "cat.png", "/tmp/cat", "a b", "图", "x" * 257, "http://example.com"])
def test_any_other_text_is_refused_and_a_path_suggested(text: str) -> None:
    assert error_of(text) == f"{text[:80]!r} is not a WeChat media id; for a file, use pathlib.Path({text[:80]!r})"


def test_a_file_that_cannot_be_read_raises_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    assert error_of(missing) == f"the image {missing} cannot be read: No such file or directory"
    assert "cannot be read" in error_of(tmp_path)
    assert "cannot be read" in error_of(Path("a\0b.png"))
    with (tmp_path / "closed").open("wb+") as file:
        pass
    assert "cannot be read" in error_of(file)
    with (tmp_path / "text").open("w+") as text:
        assert "open it with 'rb'" in error_of(text)


def test_a_value_that_is_no_file_raises_an_error() -> None:
    assert error_of(7).startswith("int cannot be sent as image; use a media id")
    assert "NoneType" in error_of(cast("Any", None))
    assert error_of(b"") == "the image is empty"


class SlowFile(io.RawIOBase):
    """A file that returns a few bytes at a time, as a pipe does."""

    def __init__(self, content: bytes) -> None:
        self.left = content

    def read(self, size: int = -1) -> bytes:
        part, self.left = self.left[: min(size, 7)], self.left[min(size, 7) :]
        return part


def test_a_pipe_is_read_to_its_end_or_the_limit() -> None:
    content = PNG + b"x" * 100
    assert accepted(SlowFile(content)).content == content
    endless = SlowFile(PNG + b"x" * 10_000)
    assert "more than 500 bytes" in error_of(endless, limits={**MAX_BYTES, "image": 500})
    assert len(endless.left) == len(PNG) + 10_000 - 501


@pytest.mark.parametrize("odd", [None, 7, ["x"]])
def test_an_open_file_that_returns_no_bytes_raises_an_error(odd: Any) -> None:
    class Odd:
        def read(self, size: int) -> Any:
            return odd

    assert error_of(Odd()) == f"the open file for a reply of type image returns {type(odd).__name__}, not bytes"


@pytest.mark.parametrize("odd", ["text", None, 7])
def test_a_media_whose_content_is_not_bytes_raises_an_error(odd: Any) -> None:
    error = error_of(Media(odd, "image/png", "a.png"))
    assert error == f"the content of the Media for a reply of type image must be bytes, not {type(odd).__name__}"
    assert accepted(Media(cast(Any, bytearray(PNG)), "image/png", "a.png")).content == PNG


def test_a_file_name_that_is_not_utf_8_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff.png"
    path.write_bytes(PNG)
    accepted(path).filename.encode()
    accepted(Media(PNG, "image/png", "a\ud83d.png")).filename.encode()
    path.write_bytes(b"hello")
    error_of(path).encode()
    error_of(tmp_path / "b\udcff.png").encode()
