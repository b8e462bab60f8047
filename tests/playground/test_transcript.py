"""Reading and writing transcripts: written ones are read unchanged, invalid ones are refused with line and reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.playground.support import ANYWHERE, MINI_PROGRAM, OFFICIAL
from wxbot.errors import WxbotError
from wxbot.playground.transcript import (
    MAX_SECONDS,
    BadTranscript,
    Closes,
    Does,
    Enters,
    Fault,
    Forward,
    HandsOver,
    Hold,
    Matches,
    Redeliver,
    Says,
    Sees,
    Sends,
    SendsCard,
    SendsLocation,
    SendsPicture,
    SendsVoice,
    Step,
    Takes,
    Transcript,
    Writes,
    nodes,
    read,
    write,
)
from wxbot.playground.transcript.steps import FORMS, WORDS, find, has_subject

EXAMPLE = """\
wxbot-transcript: 1
account: miniprogram
mode: safe
format: json
steps:
- amy says: 你好
- amy sees: [Typing, CancelTyping, 你好]
- amy enters: shop
- amy sends picture: !!binary aGVsbG8=
- amy does: CLICK
  fields: {EventKey: menu-1, n: 1}
- forward: 31
- fault: send
  kind: fail
  times: always
- redeliver: amy
  push: 2
- kf1@x writes: |-
    Hello,
    how are you?
  to: amy
- hold
- amy sees: ["yes", {matches: "^Order \\\\d+$"}]
  within: 60
"""
READ = Transcript(
    "miniprogram",
    "safe",
    "json",
    (
        Says("amy", "你好"),
        Sees("amy", ("Typing", "CancelTyping", "你好")),
        Enters("amy", "shop"),
        SendsPicture("amy", b"hello"),
        Does("amy", "CLICK", {"EventKey": "menu-1", "n": 1}),
        Forward(31),
        Fault("send", "fail", times=None),
        Redeliver("amy", 2),
        Writes("kf1@x", "Hello,\nhow are you?", "amy"),
        Hold(),
        Sees("amy", ("yes", Matches(r"^Order \d+$")), within=60),
    ),
)

ODD = [
    *(
        "yes",
        "1",
        "1.5",
        "null",
        "~",
        "true",
        "2024-01-01",
        "=",
        "<<",
        "",
        " ",
        " lead",
        "trail ",
        "- a",
        "? a",
        "a: b",
    ),
    *("a #b", "#", "&a", "*a", "!a", "|", ">", "'", '"', "\\", "%a", "@a", "`a", "[", "{", ",", "a, b", "---", "..."),
    *("\n", "a\n", "a\nb", "a\nb\n", "a\nb\n\n", "\na", " a\nb", "a\n b", "a \nb", "a\n\nb", "a\r\nb", "a\tb\nc"),
    *("\0", "\x07", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff", "\ufffe", "\ud800", "😀", "👨\u200d👩", "\U0010ffff"),
    *("\\ud800", "\\U00110000", "e\u0301", "\u202e", "a\x85b\nc", "x" * 300, "字" * 300),
]
texts = st.one_of(st.sampled_from(ODD), st.text(max_size=30), st.text("\n \tab:#-'\"", max_size=20))
names = st.one_of(texts, st.sampled_from(["a says", "forward", "hold", "a sees b", "says"])).filter(
    lambda name: 1 <= len(name) <= 40
)
contents = st.one_of(st.none(), st.binary(min_size=1, max_size=200))
numbers = st.floats(-180, 180)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(texts, st.integers(-(10**20), 10**20), st.booleans(), st.none(), st.floats(-1e20, 1e20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
fields = st.dictionaries(texts.filter(lambda text: len(text) < 100), values, max_size=4)
steps: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from(ANYWHERE),
    st.builds(Says, names, texts),
    st.builds(
        Sees,
        names,
        st.lists(st.one_of(texts, st.builds(Matches, st.sampled_from(["^a$", "\\d", '"', "\n"]))), max_size=5).map(
            tuple
        ),
        st.one_of(st.none(), st.floats(0, 100)),
    ),
    st.builds(SendsPicture, names, contents),
    st.builds(Enters, names, texts),
    st.builds(SendsCard, names, texts, texts, texts),
    st.builds(Does, names, texts, fields),
    st.builds(Sends, names, texts, fields),
    st.builds(Takes, names, names),
    st.builds(Writes, names, texts, names),
    st.builds(Closes, names, names, texts),
    st.builds(HandsOver, names, names, names),
    st.builds(Forward, st.floats(0, MAX_SECONDS)),
    st.builds(Redeliver, names, st.one_of(st.none(), st.integers(1, 10**6))),
)
of_official = st.one_of(
    st.builds(SendsVoice, names, contents, texts),
    st.builds(SendsLocation, names, numbers, numbers, texts, st.integers(-100, 100)),
    st.sampled_from(OFFICIAL.steps[len(ANYWHERE) :]),
)
mini_programs = st.builds(
    Transcript,
    st.just("miniprogram"),
    st.sampled_from(["plain", "compatible", "safe"]),
    st.sampled_from(["json", "xml"]),
    st.lists(steps, max_size=8).map(tuple),
    st.booleans(),
)
officials = st.builds(
    Transcript,
    st.sampled_from(["official", "unverified"]),
    st.just("safe"),
    st.just("xml"),
    st.lists(of_official, max_size=8).map(tuple),
)


def refusal(text: str) -> str:
    with pytest.raises(BadTranscript) as caught:
        read(text, "talk.yaml")
    return str(caught.value)


def line_refused(text: str) -> int:
    """Return the line of the error, or 1 if there is none."""
    try:
        read(text)
    except BadTranscript as error:
        return error.line
    return 1


def of_steps(*lines: str, account: str = "miniprogram") -> str:
    return "\n".join(["wxbot-transcript: 1", f"account: {account}", "steps:", *lines]) + "\n"


# -- writing and reading


def test_the_example_is_read() -> None:
    assert read(EXAMPLE) == READ
    assert write(READ) == EXAMPLE


@pytest.mark.parametrize("transcript", [MINI_PROGRAM, OFFICIAL], ids=["miniprogram", "official"])
def test_every_step_is_written_and_read(transcript: Transcript) -> None:
    text = write(transcript)
    assert read(text) == transcript
    assert {type(step) for step in (*MINI_PROGRAM.steps, *OFFICIAL.steps)} == set(FORMS)
    yaml.safe_load(text)  # other YAML readers accept it too


@given(mini_programs)
def test_any_transcript_is_read_as_it_was_written(transcript: Transcript) -> None:
    assert read(write(transcript)) == transcript


@given(officials)
def test_any_official_account_action_is_read_as_it_was_written(transcript: Transcript) -> None:
    assert read(write(transcript)) == transcript


@given(mini_programs)
def test_libyaml_reads_the_same_as_pyyaml(transcript: Transcript) -> None:
    text = write(transcript)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_LARGE", -1)  # use libyaml, if it supports the text
        assert read(text) == transcript


@given(st.one_of(st.text(), st.text("wxbot-transcript: 1\nsteps[]{}&*!|>'\"#,?%@`\\UuxX0\t\0", max_size=60)))
def test_any_invalid_text_raises_bad_transcript(text: str) -> None:
    for whole in (
        text,
        of_steps(text),
        of_steps(f"- {text}"),
        of_steps(f"- amy says: {text}"),
        of_steps(f'- "{text}"'),
    ):
        assert 1 <= line_refused(whole) <= whole.count("\n") + 2


VERBS = [words for words, step in WORDS.items() if has_subject(step)]


@pytest.mark.parametrize("verb", VERBS)
def test_the_end_of_a_head_identifies_the_step(verb: str) -> None:
    others = [other for other in VERBS if other != verb]
    assert not [other for other in others if verb.endswith(" " + other)]
    assert not [words for words in WORDS if words.endswith(" " + verb)]
    assert not [detail for detail in FORMS[WORDS[verb]].details if find(detail)]


def test_texts_are_read_as_written() -> None:
    lines = ["- amy says: yes", "- amy says: 007", "- amy says: 2024-01-01", "- amy says: null", '- amy says: ""']
    said = [step.text for step in read(of_steps(*lines)).steps if isinstance(step, Says)]
    assert said == ["yes", "007", "2024-01-01", "null", ""]


def test_a_single_item_needs_no_list() -> None:
    steps = read(of_steps("- amy says: a", "", "- amy sees: b", "- hold:")).steps
    assert steps == (Says("amy", "a"), Sees("amy", ("b",)), Hold())
    assert [step.line for step in steps] == [4, 6, 7]


def test_omitted_values_have_defaults() -> None:
    assert read("wxbot-transcript: 1\nsteps: []") == Transcript("miniprogram", "safe", "json", ())
    assert read("wxbot-transcript: 1\naccount: official\nsteps: []") == Transcript("official", "safe", "xml", ())
    assert read(write(replace(READ, typing=False))) == replace(READ, typing=False)


# -- invalid transcripts


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "the file is empty: the first line must be `wxbot-transcript: 1`"),
        ("# nothing\n", 1, "the file is empty"),
        ("hello", 1, "not a transcript: the first line must be `wxbot-transcript: 1`"),
        ("account: official\nsteps: []", 1, "the line `wxbot-transcript: 1` is missing"),
        ("wxbot-transcript: 2\nsteps: []", 1, "unsupported transcript version 2"),
        ("wxbot-transcript: 1", 1, "`steps:` is missing"),
        ("wxbot-transcript: 1\nstep: []", 2, "has no `step` (did you mean `steps`?); known: wxbot-transcript, acc"),
        ("wxbot-transcript: 1\nsteps:\n  a: b", 3, "`steps` must be a list: begin each step with a dash"),
        (
            "wxbot-transcript: 1\naccount: offical\nsteps: []",
            2,
            "offical is not one of miniprogram, official, unverified (d",
        ),
        ("wxbot-transcript: 1\nmode: cloud\nsteps: []", 2, "cloud is not one of plain, compatible, safe"),
        ("wxbot-transcript: 1\nformat: yaml\nsteps: []", 2, "yaml is not one of json, xml"),
        (
            "wxbot-transcript: 1\naccount: official\nformat: json\nsteps: []",
            3,
            "WeChat pushes JSON to Mini Programs only",
        ),
        ("wxbot-transcript: 1\ntyping: no\nsteps: []", 2, "no is neither true nor false"),
        ("wxbot-transcript: 1\nmode: [safe]\nsteps: []", 2, "expected a text"),
        ("wxbot-transcript: 1\nmode: safe\nmode: safe\nsteps: []", 3, "duplicate key `mode`"),
        ("wxbot-transcript: 1\nsteps: []\n---\na: b", 3, "there is a second document"),
        ("wxbot-transcript: 1\nsteps: [", 2, "invalid YAML: while parsing a flow node"),
        ("a: b: c", 1, "invalid YAML: mapping values are not allowed here; put a text with a colon in quotes"),
        ("a: \0", 1, 'the character U+0000 is not allowed in YAML: write it as "\\u0000"'),
        ('a:\n- "\\UFFFFFFFF"', 2, "an escape in double quotes (\\U…) is not a character"),
        ("[" * 5000, 1, "there are more than 20 levels"),
        ("a: &a b\nc: *a", 1, "anchors and aliases (& and *) are not supported"),
        ("a: *a", 1, "anchors and aliases (& and *) are not supported"),
    ],
)
def test_an_invalid_file_is_reported(text: str, line: int, words: str) -> None:
    assert refusal(text).startswith(f"talk.yaml, line {line}: ")
    assert words in refusal(text)


@pytest.mark.parametrize(
    ("step", "line", "words"),
    [
        ("-", 4, "not a step: write it like `amy says: 你好` or `forward: 31`"),
        ("- [a]", 4, "not a step: write it like"),
        ("- {}", 4, "not a step: write it like"),
        (
            "- amy sais: x",
            4,
            "unknown step `amy sais` (did you mean `amy says`?). A step is a name with one of: says, s",
        ),
        ("- forwards: 3", 4, "did you mean `forward`?"),
        ("- zzz", 4, "or one of: waits, forward, redeliver, fault"),
        ("- amy says: a\n  bob says: b", 5, "`amy says` and `bob says` are two steps: begin each with a dash"),
        ("- amy says: a\n  amy says: b", 5, "duplicate key `amy says`"),
        ("- amy says: a\n  to: bob", 5, "`amy says` has no `to`; it has no details"),
        ("- amy says:", 4, "the text is missing"),
        ("- amy says", 4, "the value of `amy says` is missing"),
        ("- amy says: [a]", 4, "expected a text: put it in quotes"),
        ("- amy says: !mine a", 4, "without the tag !mine"),
        ("- amy says: !!python/object:os.system a", 4, "without the tag tag:yaml.org,2002:python/object:os.system"),
        ('- " says": a', 4, "a name has 1 to 200 characters"),
        (f"- {'a' * 201} says: a", 4, "a name has 1 to 200 characters"),
        ("- ? [a]\n  : b", 4, "expected a text"),
        ("- hold: now", 4, "`hold` takes no value"),
        ("- amy sees: {match: a}", 4, "has no `match` (did you mean `matches`?)"),
        ("- amy sees: [{}]", 4, "a text or {matches: REGULAR EXPRESSION}"),
        ("- amy sees:\n  - a\n  - {matches: (}", 6, "( is not a regular expression: missing )"),
        ("- amy sees: [a]\n  within: soon", 5, "soon is not a number from 0 to"),
        ("- amy sends picture: cat.jpg", 4, "as `!!binary` with base64, or no value"),
        ("- amy sends picture: !!binary ===", 4, "invalid base64"),
        ("- amy sends picture: !!binary 字", 4, "invalid base64"),
        ('- amy sends picture: !!binary ""', 4, "the file is empty"),
        ("- amy sends card: Shoes", 4, "`amy sends card` needs the detail `page`"),
        ("- amy does: CLICK\n  feilds: {}", 5, "has no `feilds` (did you mean `fields`?); known: fields"),
        ("- amy does: CLICK\n  fields: menu-1", 5, "expected fields, such as {EventKey: menu-1}"),
        ("- amy leaves", 4, "`leaves` is not possible at a Mini Program: set `account: official` at the top"),
        ("- forward: -1", 4, "-1 is not a number from 0 to 2.592e+06"),
        ("- forward: 1e9", 4, "1e9 is not a number"),
        ("- forward: .inf", 4, ".inf is not a number"),
        ("- forward: 31 s", 4, "31 s is not a number"),
        ("- forward", 4, "the value of `forward` is missing"),
        ("- redeliver: amy\n  push: 0", 5, "0 is not a whole number from 1 to 1000000"),
        (
            "- fault: sned\n  kind: fail",
            4,
            "sned is not one of typing, send, token, upload, download (did you mean `send`?)",
        ),
        ("- fault: send", 4, "`fault` needs the detail `kind`"),
        ("- fault: send\n  kind: explode", 5, "explode is not one of fail, http, drop, slow, hang"),
        ("- fault: send\n  kind: fail\n  errcode: many", 6, "many is not a whole number"),
        (
            "- fault: send\n  kind: fail\n  times: never",
            6,
            "never is not a whole number from 1 to 1000000, nor `always`",
        ),
        ("- fault: send\n  kind: http\n  status: 99", 6, "99 is not a whole number from 100 to 599"),
        ("- kf1 writes: hello", 4, "`kf1 writes` needs the detail `to`"),
        ("- in order: off", 4, "off is neither true nor false"),
        ("- release: backwards", 4, "backwards is not one of sent, reversed"),
        ("- mode: open", 4, "open is not one of plain, compatible, safe"),
    ],
)
def test_an_invalid_step_is_reported(step: str, line: int, words: str) -> None:
    said = refusal(of_steps(step))
    assert said.startswith(f"talk.yaml, line {line}: ")
    assert words in said


def test_official_accounts_refuse_mini_program_steps_and_json() -> None:
    for account in ("official", "unverified"):
        assert "`enters` is not possible at an Official Account" in refusal(of_steps("- amy enters", account=account))
        assert "`sends card` is not possible at an Official Account" in refusal(
            of_steps("- amy sends card: a\n  page: b", account=account)
        )
        assert "WeChat pushes JSON to Mini Programs only" in refusal(of_steps("- format: json", account=account))


def test_an_error_contains_file_and_line() -> None:
    with pytest.raises(WxbotError) as caught:
        read(of_steps("- hold", "- hodl"), "talk.yaml")
    assert isinstance(caught.value, BadTranscript)
    assert (caught.value.name, caught.value.line) == ("talk.yaml", 5)
    assert caught.value.reason.startswith("unknown step `hodl` (did you mean `hold`?)")


def test_size_limits_are_enforced() -> None:
    too_many = refusal(of_steps(*["- hold"] * 10_001))
    assert "more than 10000 steps" in too_many
    assert too_many.startswith("talk.yaml, line 10004: ")
    assert "larger than 16 MB" in refusal("#" * (16 << 20) + "x")
    assert "larger than 16 MB" in refusal("字" * (6 << 20))
    assert "more than 200000 values" in refusal("[" + "a," * 200_001 + "]")


def test_a_10_mb_image_is_read() -> None:
    step = SendsPicture("amy", b"\xff\xd8\xff" + bytes(10 << 20))
    assert read(write(Transcript("miniprogram", "safe", "json", (step,)))).steps == (step,)
