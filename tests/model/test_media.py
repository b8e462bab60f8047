"""Files for WeChat: what is taken, by which name, and what is said about the rest."""

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


def refusal(source: Any, kind: MediaKind = "image", limits: Mapping[MediaKind, int] = MAX_BYTES) -> str:
    with pytest.raises(InvalidReply) as caught:
        read_media(source, kind, limits)
    assert caught.value.__cause__ is None
    return str(caught.value)


def taken(source: Any, kind: MediaKind = "image") -> Media:
    media = read_media(source, kind)
    assert isinstance(media, Media)
    return media


@pytest.mark.parametrize(("content_type", "contents"), TYPES.items())
def test_the_first_bytes_tell_the_type(content_type: str, contents: tuple[bytes, ...]) -> None:
    assert {content_type_of(content) for content in contents} == {content_type}


@given(st.binary())
def test_any_bytes_have_a_known_type_or_none(content: bytes) -> None:
    assert content_type_of(content) in TYPES


@pytest.mark.parametrize(("kind", "content", "content_type"), GOOD)
def test_what_wechat_takes(kind: MediaKind, content: bytes, content_type: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        for source in (content, bytearray(content), memoryview(content), io.BytesIO(content), path, file):
            if file.tell():
                file.seek(0)
            media = taken(source, kind)
            assert (media.content, media.content_type) == (content, content_type)
    assert taken(Media(content, "text/plain", "x"), kind).content_type == content_type, "what it is, not what it says"


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_type_is_refused_by_name(kind: MediaKind) -> None:
    good = {content_type for each, _, content_type in GOOD if each == kind}
    for content_type, contents in TYPES.items():
        if content_type not in good and contents[0]:
            assert f"as {kind}" in refusal(contents[0], kind)


def test_the_sentence_names_file_type_and_what_would_do(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(MP4)
    assert refusal(path) == f"{path} is MP4; WeChat accepts JPG, PNG, GIF as image"
    assert refusal(b"hello") == "the image has an unknown type; WeChat accepts JPG, PNG, GIF as image"


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_itself_is_taken_and_one_byte_more_is_not(kind: MediaKind) -> None:
    start = next(content for each, content, _ in GOOD if each == kind)
    most = start.ljust(MAX_BYTES[kind], b"\0")
    assert len(taken(most, kind).content) == MAX_BYTES[kind]
    said = refusal(most + b"\0", kind)
    assert said == f"the {kind} has more than {MAX_BYTES[kind]:,} bytes, the limit of WeChat for {kind}"


def test_limits_are_wechats_and_can_be_others() -> None:
    assert MAX_BYTES == {"image": 2_097_152, "voice": 2_097_152, "video": 10_485_760, "thumb": 65_536}
    assert "more than 10 bytes" in refusal(PNG, "image", {**MAX_BYTES, "image": 10})
    assert read_media(PNG, "image", {**MAX_BYTES, "image": len(PNG)}) == Media(PNG, "image/png", "image.png")


def test_no_more_than_the_limit_is_read() -> None:
    asked: list[int] = []

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            asked.append(size)
            return b"\xff\xd8\xff" + b"\0" * (size - 3)

    assert "more than 65,536 bytes" in refusal(Endless(), "thumb")
    assert asked == [65_537]


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
def test_a_name_has_the_right_ending_and_nothing_dangerous(name: str, content: bytes, expected: str) -> None:
    assert taken(Media(content, "", name)).filename == expected


def test_an_open_file_gives_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        assert taken(file).filename == "cat.png"
    assert taken(io.BytesIO(PNG)).filename == "image.png"


@pytest.mark.parametrize("media_id", ["M", "aB3_-" * 20])
def test_a_media_id_stays_one(media_id: str) -> None:
    assert read_media(media_id, "image") == media_id


@pytest.mark.parametrize("text", ["", "cat.png", "/tmp/cat", "a b", "图", "x" * 257, "http://example.com"])
def test_another_text_is_most_likely_a_path(text: str) -> None:
    assert refusal(text) == f"{text[:80]!r} is not a WeChat media id; for a file, use pathlib.Path({text[:80]!r})"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    assert refusal(missing) == f"the image {missing} cannot be read: No such file or directory"
    assert "cannot be read" in refusal(tmp_path)
    with (tmp_path / "closed").open("wb+") as file:
        pass
    assert "cannot be read" in refusal(file)
    with (tmp_path / "text").open("w+") as text:
        assert "open it with 'rb'" in refusal(text)


def test_what_is_no_file_at_all() -> None:
    assert refusal(7).startswith("int cannot be sent as image; use a media id")
    assert "NoneType" in refusal(cast("Any", None))
    assert refusal(b"") == "the image is empty"


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe does."""

    def __init__(self, content: bytes) -> None:
        self.left = content

    def read(self, size: int = -1) -> bytes:
        part, self.left = self.left[: min(size, 7)], self.left[min(size, 7) :]
        return part


def test_a_pipe_is_read_to_its_end_or_the_limit() -> None:
    content = PNG + b"x" * 100
    assert taken(Trickle(content)).content == content
    endless = Trickle(PNG + b"x" * 10_000)
    assert "more than 500 bytes" in refusal(endless, limits={**MAX_BYTES, "image": 500})
    assert len(endless.left) == len(PNG) + 10_000 - 501


@pytest.mark.parametrize("odd", [None, 7, ["x"]])
def test_a_file_that_gives_no_bytes(odd: Any) -> None:
    class Odd:
        def read(self, size: int) -> Any:
            return odd

    assert refusal(Odd()) == f"the open file for a reply of type image returns {type(odd).__name__}, not bytes"


@pytest.mark.parametrize("odd", ["text", None, 7])
def test_a_media_whose_content_is_not_bytes(odd: Any) -> None:
    told = refusal(Media(odd, "image/png", "a.png"))
    assert told == f"the content of the Media for a reply of type image must be bytes, not {type(odd).__name__}"
    assert taken(Media(cast(Any, bytearray(PNG)), "image/png", "a.png")).content == PNG


def test_a_path_with_a_nul() -> None:
    assert "cannot be read" in refusal(Path("a\0b.png"))


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff.png"
    path.write_bytes(PNG)
    taken(path).filename.encode()
    taken(Media(PNG, "image/png", "a\ud83d.png")).filename.encode()
    path.write_bytes(b"hello")
    refusal(path).encode()
    refusal(tmp_path / "b\udcff.png").encode()
