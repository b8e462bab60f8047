"""Read transcripts: convert YAML text into steps, and report each error with its line."""

from __future__ import annotations

from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wxbot.playground.transcript.grammar import CONTROLS, TOP, VERBS, WORDS, Form, find, fits
from wxbot.playground.transcript.nodes import compose
from wxbot.playground.transcript.problems import BadTranscript, InvalidNode, guess, short
from wxbot.playground.transcript.steps import MAX_NAME, MAX_STEPS, VERSION, AgentStep, SetFormat, Step, Transcript
from wxbot.playground.transcript.values import (
    ACCOUNT,
    FLAG,
    FORMAT,
    MODE,
    TEXT,
    Kind,
    Pairs,
    check_keys,
    is_empty,
    pairs_of,
    read_text,
)
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.rules import AccountKind

MAX_BYTES = 16 << 20
"""Maximum size of a file in bytes (UTF-8)."""

_XML_ONLY = "the format is xml: WeChat pushes JSON to Mini Programs only"


def read(text: str, name: str = "transcript") -> Transcript:
    """Return the transcript in ``text``. ``name``: the file name for errors. Raises BadTranscript."""
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise BadTranscript(name, 1, f"the file is larger than {MAX_BYTES >> 20} MB: use smaller images")
    try:
        return _read_transcript(compose(text, name))
    except InvalidNode as error:
        raise BadTranscript(name, _line(error.node), error.reason) from None


def _read_transcript(node: Node) -> Transcript:
    if not isinstance(node, MappingNode):
        raise InvalidNode(node, f"not a transcript: the first line must be `wxbot-transcript: {VERSION}`")
    pairs = pairs_of(node)
    check_keys(node, pairs, TOP, "a transcript")
    _check_version(node, pairs)
    kind: AccountKind = _read_top(pairs, "account", ACCOUNT, "miniprogram")
    mode: Mode = _read_top(pairs, "mode", MODE, "safe")
    form: Format = _read_top(pairs, "format", FORMAT, "json" if kind == "miniprogram" else "xml")
    if form == "json" and kind != "miniprogram":
        raise InvalidNode(pairs["format"][1], _XML_ONLY)
    steps = tuple(_read_step(step, kind) for step in _step_nodes(node, pairs))
    return Transcript(kind, mode, form, steps, _read_top(pairs, "typing", FLAG, True))


def _check_version(node: Node, pairs: Pairs) -> None:
    if "wxbot-transcript" not in pairs:
        raise InvalidNode(node, f"not a transcript: the line `wxbot-transcript: {VERSION}` is missing")
    version = pairs["wxbot-transcript"][1]
    if read_text(version) != str(VERSION):
        raise InvalidNode(
            version, f"unsupported transcript version {short(read_text(version))}: this wxbot reads version {VERSION}"
        )


def _read_top(pairs: Pairs, name: str, kind: Kind, default: Any) -> Any:
    return kind.read(pairs[name][1]) if name in pairs else default


def _step_nodes(node: Node, pairs: Pairs) -> list[Node]:
    if "steps" not in pairs:
        raise InvalidNode(node, "`steps:` is missing, with the list of steps below it")
    steps = pairs["steps"][1]
    if not isinstance(steps, SequenceNode):
        raise InvalidNode(steps, "`steps` must be a list: begin each step with a dash")
    if len(steps.value) > MAX_STEPS:
        raise InvalidNode(steps.value[MAX_STEPS], f"there are more than {MAX_STEPS} steps: split the file")
    nodes: list[Node] = steps.value
    return nodes


def _read_step(node: Node, account_kind: AccountKind) -> Step:
    head, value, details = _head(node)
    form, subject = _form_of(head, node)
    given: dict[str, Any] = dict(subject)
    if form.main is not None:
        given |= _read_main(form, head, node, value)
    elif value is not None and not is_empty(value):
        raise InvalidNode(value, f"`{short(head)}` takes no value")
    check_keys(node, details, form.details, f"`{short(head)}`")
    for word, (name, kind) in form.details.items():
        if word in details:
            given[name] = kind.read(details[word][1])
        elif form.is_needed(name):
            raise InvalidNode(node, f"`{short(head)}` needs the detail `{word}`")
    step = form.step(**given, line=_line(node))
    _check_account(node, step, account_kind)
    return step


def _read_main(form: Form, head: str, node: Node, value: Node | None) -> dict[str, Any]:
    name, kind = form.main or ("", TEXT)
    if value is None or (is_empty(value) and not form.is_needed(name)):
        if form.is_needed(name):
            raise InvalidNode(node, f"the value of `{short(head)}` is missing")
        return {}
    return {name: kind.read(value)}


def _head(node: Node) -> tuple[str, Node | None, Pairs]:
    """Return the head of a step, its value (None without one), and the details."""
    if isinstance(node, ScalarNode) and not is_empty(node):
        return read_text(node), None, {}
    if not isinstance(node, MappingNode) or not node.value:
        raise InvalidNode(node, "not a step: write it like `amy says: 你好` or `forward: 31`")
    pairs = pairs_of(node)
    heads = [key for key in pairs if find(key)]
    if len(heads) > 1:
        raise InvalidNode(
            pairs[heads[1]][0], f"`{short(heads[0])}` and `{short(heads[1])}` are two steps: begin each with a dash"
        )
    head = heads[0] if heads else next(iter(pairs))
    return head, pairs[head][1], {key: pair for key, pair in pairs.items() if key != head}


def _form_of(head: str, node: Node) -> tuple[Form, dict[str, str]]:
    found = find(head)
    if found is None:
        raise InvalidNode(node, _no_such_step(head))
    form, name = found
    if head in CONTROLS:
        return form, {}
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidNode(node, f"a name has 1 to {MAX_NAME} characters")
    return form, {"agent" if issubclass(form.step, AgentStep) else "user": name}


def _no_such_step(head: str) -> str:
    verbs, controls = ", ".join(VERBS), ", ".join(CONTROLS)
    words = head.split(" ")
    name = words[0] if len(words) > 1 else "NAME"
    hint = guess(head, [*CONTROLS, *(f"{name} {verb}" for verb in VERBS)])
    return f"unknown step `{short(head)}`{hint}. A step is a name with one of: {verbs}; or one of: {controls}"


def _check_account(node: Node, step: Step, account_kind: AccountKind) -> None:
    if fits(step, account_kind):
        return
    if isinstance(step, SetFormat):
        raise InvalidNode(node, _XML_ONLY)
    is_mini_program = account_kind == "miniprogram"
    here, there = ("a Mini Program", "official") if is_mini_program else ("an Official Account", "miniprogram")
    words = WORDS[type(step)][0]
    raise InvalidNode(node, f"`{words}` is not possible at {here}: set `account: {there}` at the top of the file")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
