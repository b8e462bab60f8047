"""Test that a long text is split into messages at good places."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.model.text_splitting import split_text

limits = st.integers(min_value=4, max_value=120)
# Characters that matter to the splitting, so that Hypothesis uses them often.
relevant = st.sampled_from(
    [*"。！？!?…；;，、,.：:”’」』）)\"'\n\r\t \u3000a1字é€", "\u200d", "\u0301", "🇨", "👍", "🏽"]
)
texts = st.text(st.one_of(relevant, st.characters(exclude_categories=["Cs"])), max_size=400)

# Strings that are displayed as one character.
single_characters = [
    "字",
    "a",
    "e\u0301",  # e and an accent
    "क्षि",
    "👍🏽",
    "❤️",
    "1️⃣",
    "👨‍👩‍👧‍👦",  # four people joined by three joiners
    "🏳️‍🌈",
    "🇨🇳",
    "🇫🇷",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",  # England: a black flag and six tags
]
longest_character = max(len(whole.encode()) for whole in single_characters)


def without_blanks(text: str) -> str:
    return "".join(text.split())


# -- always


@given(texts, limits)
def test_every_part_fits(text: str, limit: int) -> None:
    assert all(len(part.encode()) <= limit for part in split_text(text, limit))


@given(texts, limits)
def test_only_blanks_are_lost(text: str, limit: int) -> None:
    assert without_blanks("".join(split_text(text, limit))) == without_blanks(text)


@given(texts, limits)
def test_blanks_are_lost_only_at_the_breaks(text: str, limit: int) -> None:
    position = 0
    for part in split_text(text, limit):
        found = text.index(part, position)
        assert not text[position:found].strip(), "text between two parts is lost"
        position = found + len(part)
    assert not text[position:].strip()


@given(texts, limits)
def test_parts_are_not_split_again(text: str, limit: int) -> None:
    for part in split_text(text, limit):
        assert split_text(part, limit) == [part]


@given(texts)
def test_a_text_that_fits_is_unchanged(text: str) -> None:
    assert split_text(text, max(4, len(text.encode()))) == [text]


@given(texts, limits)
def test_only_the_last_part_may_be_blank(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert all(part.strip() for part in parts[:-1])


@given(st.lists(st.sampled_from(single_characters), min_size=1, max_size=80), st.integers(longest_character, 90))
def test_a_displayed_character_is_not_split(characters: list[str], limit: int) -> None:
    ends = {0}
    for character in characters:
        ends.add(max(ends) + len(character))
    position = 0
    for part in split_text("".join(characters), limit):
        position += len(part)
        assert position in ends, f"broken inside a character, after {part!r}"


def test_a_joined_emoji_is_not_split_even_if_a_short_part_remains() -> None:
    family = "👨‍👩‍👧‍👦"
    assert split_text("a" + family, len(family.encode())) == ["a", family]


def test_a_character_longer_than_a_message_is_split() -> None:
    stacked = "e" + "\u0301" * 300
    parts = split_text(stacked, 100)
    assert "".join(parts) == stacked
    assert all(len(part.encode()) <= 100 for part in parts)


# -- the places of breaks


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        # a line before a sentence, a sentence before a clause, a clause before a word
        ("One two.\nOne. Two, three", 20, ["One two.", "One. Two, three"]),
        ("One two. Three, four five", 20, ["One two.", "Three, four five"]),
        ("one two, three four five", 20, ["one two, three four", "five"]),
        ("今天天气好。我们出去玩，好吗", 36, ["今天天气好。", "我们出去玩，好吗"]),
        ("今天天气很好，我们出去玩吧", 36, ["今天天气很好，", "我们出去玩吧"]),
        # closing quotes and brackets belong to the sentence before them
        ("他说：“今天不去了。”然后他走了。", 36, ["他说：“今天不去了。”", "然后他走了。"]),
        ("（这件事我知道了。）然后他走了。", 36, ["（这件事我知道了。）", "然后他走了。"]),
        ('He said "not today." Then he left us.', 30, ['He said "not today."', "Then he left us."]),
        ("(He did not say why!) Then he left us.", 30, ["(He did not say why!)", "Then he left us."]),
        # even if only they do not fit any more
        ("好的。他说：“今天不去了。”", 36, ["好的。他说：", "“今天不去了。”"]),
        ("我们都好的。他说：“今天不去了。”", 48, ["我们都好的。", "他说：“今天不去了。”"]),
        # several marks end one sentence
        ("真的吗？！我不知道啊……算了吧", 30, ["真的吗？！", "我不知道啊……算了吧"]),
        # a blank directly after the last word that fits
        ("hello world", 5, ["hello", "world"]),
        ("abcd hello world", 10, ["abcd hello", "world"]),
        # ASCII marks in Chinese text end a sentence too
        ("你好吗?我很好!我们走吧", 30, ["你好吗?我很好!", "我们走吧"]),
    ],
)
def test_a_text_is_split_at_the_best_place(text: str, limit: int, parts: list[str]) -> None:
    assert split_text(text, limit) == parts


@pytest.mark.parametrize(
    "whole",
    [
        "3.14159265",
        "1,000,000.50",
        "12:30:45",
        "https://example.com/a,b;c?d=1!&e=2:3#f",
        "someone@example.com",
        "example.com:8080",
    ],
)
@pytest.mark.parametrize("limit", [100, 104, 110, 127])
@pytest.mark.parametrize(("before", "after"), [("我们要说的是", "这个东西啊"), ("all that we say is ", " and so on ")])
def test_numbers_and_addresses_are_not_split(whole: str, limit: int, before: str, after: str) -> None:
    said = (before + whole + after) * 20
    assert sum(part.count(whole) for part in split_text(said, limit)) == 20


def test_a_url_longer_than_a_message_is_split() -> None:
    url = "https://example.com/" + "a" * 200
    assert "".join(split_text(url, 100)) == url


def test_no_part_begins_with_a_mark_or_ends_with_an_opening_quote() -> None:
    said = "很长很长的“一段”话没有句号也没有逗号。" * 40
    for limit in range(60, 90):
        for part in split_text(said, limit):
            assert part[0] not in "。”"
            assert part[-1] != "“"


def test_no_short_part_is_made_before_a_long_sentence() -> None:
    assert len(split_text("Hi. " + "x" * 200, 100)[0]) > 33


def test_a_blank_text_is_one_part() -> None:
    assert split_text("", 100) == [""]
    assert split_text("   ", 100) == ["   "]
    assert split_text(" " * 1000, 100) == [""]


@pytest.mark.parametrize(
    "unit",
    ["很长的一句话。", "a", "!", "!'", ".'\"", ":", " \n", "字", "🇨🇳", "e\u0301", "\u0301", "\u200d", "a. ", "…", "\r"],
)
def test_a_megabyte_is_split_quickly(unit: str) -> None:
    began = time.process_time()
    split_text(unit * (1_000_000 // len(unit.encode())), 2000)
    # It takes at most about 1 s on a slow machine; quadratic work would take minutes.
    assert time.process_time() - began < 10
