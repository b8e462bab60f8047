"""Read transcripts: convert YAML text into steps, and report each error with its line."""

from __future__ import annotations

from typing import Any, get_args

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wxbot.playground.transcript.nodes import compose
from wxbot.playground.transcript.problems import BadTranscript, InvalidNode, guess, short
from wxbot.playground.transcript.steps import (
    FORMS,
    MAX_STEPS,
    VERSION,
    WORDS,
    AgentStep,
    SetFormat,
    Step,
    Transcript,
    find,
    fits,
    has_subject,
)
from wxbot.playground.transcript.values import (
    FLAG,
    FORMAT,
    MAX_NAME,
    MODE,
    Kind,
    Pairs,
    check_keys,
    choice,
    is_empty,
    pairs_of,
    read_text,
)
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.rules import AccountKind

MAX_BYTES = 16 << 20
"""Maximum size of a file in bytes (UTF-8)."""

TOP = ("wxbot-transcript", "account", "mode", "format", "typing", "steps")
"""The top-level keys of a file."""
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
    kind: AccountKind = _read_top(pairs, "account", choice(get_args(AccountKind)), "miniprogram")
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
    step_class, given = _class_of(head, node)
    form = FORMS[step_class]
    if form.main is None and value is not None and not is_empty(value):
        raise InvalidNode(value, f"`{short(head)}` takes no value")
    if form.main is not None and value is not None and not (is_empty(value) and not form.main.is_needed):
        given[form.main.name] = form.main.kind.read(value)
    elif form.main is not None and form.main.is_needed:
        raise InvalidNode(node, f"the value of `{short(head)}` is missing")
    check_keys(node, details, form.details, f"`{short(head)}`")
    for key, part in form.details.items():
        if key in details:
            given[part.name] = part.kind.read(details[key][1])
        elif part.is_needed:
            raise InvalidNode(node, f"`{short(head)}` needs the detail `{key}`")
    step = step_class(**given, line=_line(node))
    _check_account(node, step, account_kind)
    return step


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


def _class_of(head: str, node: Node) -> tuple[type[Step], dict[str, Any]]:
    """Return the class of the step, and its user or agent by the name of the field."""
    found = find(head)
    if found is None:
        raise InvalidNode(node, _no_such_step(head))
    step, name = found
    if not has_subject(step):
        return step, {}
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidNode(node, f"a name has 1 to {MAX_NAME} characters")
    return step, {"agent" if issubclass(step, AgentStep) else "user": name}


def _no_such_step(head: str) -> str:
    verbs = [words for words, step in WORDS.items() if has_subject(step)]
    controls = [words for words, step in WORDS.items() if not has_subject(step)]
    name = head.split(" ")[0] if " " in head else "NAME"
    hint = guess(head, [*controls, *(f"{name} {verb}" for verb in verbs)])
    return (
        f"unknown step `{short(head)}`{hint}. A step is a name with one of: {', '.join(verbs)}; "
        f"or one of: {', '.join(controls)}"
    )


def _check_account(node: Node, step: Step, account_kind: AccountKind) -> None:
    if fits(step, account_kind):
        return
    if isinstance(step, SetFormat):
        raise InvalidNode(node, _XML_ONLY)
    here = "a Mini Program" if account_kind == "miniprogram" else "an Official Account"
    raise InvalidNode(
        node, f"`{step.words}` is not possible at {here}: set `account: {step.only}` at the top of the file"
    )


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
