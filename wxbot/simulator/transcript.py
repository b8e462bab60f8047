"""A conversation as a small YAML file: what the users did, what was ordered of the platform, what each user saw.

::

    wxbot-transcript: 1
    account: miniprogram
    mode: safe
    format: json
    steps:
    - amy says: 你好
    - amy sees: [Typing, CancelTyping, 你好]
    - forward: 31
    - amy sees: [Typing, {matches: "^Order [0-9]+$"}]

Each step has a head, such as ``amy says``, and may have details below it. A user's name may be anything: the words at
the end of a head decide what it is. ``read`` and ``write`` are each other's reverse.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NoReturn, TypeAlias, get_args

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wxbot.errors import WxbotError
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.faults import Endpoint
from wxbot.testing.rules import AccountKind

VERSION = 1
MAX_BYTES = 16 << 20
"""Of a file, in UTF-8."""
MAX_STEPS = 10_000
MAX_SECONDS = 30 * 24 * 3600.0
"""The most the clock is turned by one step: 30 days."""

_MAX_NODES = 200_000
_MAX_DEPTH = 20
_MAX_NAME = 200  # YAML itself ends a key at 1024 characters

FaultKind = Literal["fail", "http", "drop", "slow", "hang"]
ReleaseOrder = Literal["sent", "reversed"]


class BadTranscript(WxbotError):
    """A transcript that cannot be read. The text names file, line and reason, and what to do."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}, line {line}: {reason}")
        self.name = name
        self.line = line
        self.reason = reason


# -- the steps


@dataclass(frozen=True)
class Step:
    """One step. ``line``: where it stands in its file, from 1; 0 if it was never in one."""

    line: int = field(default=0, compare=False, kw_only=True)


@dataclass(frozen=True)
class UserStep(Step):
    """A step of one user, known by their name."""

    user: str


@dataclass(frozen=True)
class Says(UserStep):
    """Writes a text."""

    text: str


@dataclass(frozen=True)
class SendsPicture(UserStep):
    """Sends a picture; without ``content`` a tiny one (wxbot.testing.PICTURE)."""

    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsVoice(UserStep):
    """Says something; without ``content`` a moment of sound. ``format``: amr or speex."""

    content: bytes | None = field(default=None, repr=False)
    format: str = "amr"


@dataclass(frozen=True)
class SendsVideo(UserStep):
    """Sends a video; without ``content`` the head of one."""

    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsShortVideo(UserStep):
    """Sends a video recorded just now; without ``content`` the head of one."""

    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsLocation(UserStep):
    """Sends a place, in degrees."""

    latitude: float
    longitude: float
    label: str = ""
    scale: int = 16


@dataclass(frozen=True)
class SendsLink(UserStep):
    """Sends an article."""

    title: str
    description: str = ""
    url: str = ""


@dataclass(frozen=True)
class SendsCard(UserStep):
    """Sends a Mini Program's card; without ``appid`` of the account itself."""

    title: str
    page_path: str
    appid: str = ""


@dataclass(frozen=True)
class ClicksMenuItem(UserStep):
    """Clicks an item of the latest msgmenu that has it."""

    label: str


@dataclass(frozen=True)
class Enters(UserStep):
    """Opens the customer-service session."""

    session_from: str = ""


@dataclass(frozen=True)
class Follows(UserStep):
    """Follows the account, by its QR code if there is a ``scene``."""

    scene: str = ""
    ticket: str = ""


@dataclass(frozen=True)
class Leaves(UserStep):
    """Unfollows the account."""


@dataclass(frozen=True)
class Scans(UserStep):
    """Scans the QR code of the account they follow."""

    scene: str
    ticket: str = ""


@dataclass(frozen=True)
class Clicks(UserStep):
    """Clicks an item of the account's own menu."""

    key: str


@dataclass(frozen=True)
class Views(UserStep):
    """Clicks an item of the account's own menu that opens a page."""

    url: str
    menu_id: str = "1"


@dataclass(frozen=True)
class Does(UserStep):
    """Any event, with its fields as WeChat names them."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sends(UserStep):
    """A message of any MsgType, with its fields as WeChat names them."""

    msg_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matches:
    """Something seen in which this regular expression is found."""

    pattern: str


Thing: TypeAlias = str | Matches
"""One thing a user saw: as FakeWeChat tells it, or what is to be found in it."""


@dataclass(frozen=True)
class Sees(UserStep):
    """What the user sees next, after all that was listed for them before.

    ``within``: real seconds in which the last of it comes, where that is longer or shorter than usual.
    """

    things: tuple[Thing, ...]
    within: float | None = None


@dataclass(frozen=True)
class AgentStep(Step):
    """A step of a human agent, known by their account."""

    agent: str


@dataclass(frozen=True)
class Takes(AgentStep):
    """Begins a session with the user."""

    user: str


@dataclass(frozen=True)
class Writes(AgentStep):
    """Writes a text to the user."""

    text: str
    user: str


@dataclass(frozen=True)
class Closes(AgentStep):
    """Ends the session with the user."""

    user: str
    close_type: str = ""


@dataclass(frozen=True)
class HandsOver(AgentStep):
    """Lets ``other`` go on with the user's session."""

    user: str
    other: str


@dataclass(frozen=True)
class Redeliver(Step):
    """WeChat delivers a push about the user once more: the last one, or ``push``, counted from 1 for this user.

    Every deed of the user is a push, and so is each report of what an agent did with them.
    """

    user: str
    push: int | None = None


@dataclass(frozen=True)
class Forward(Step):
    """The clock is turned forward by ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Fault(Step):
    """An order that something goes wrong, as wxbot/testing/faults.py has them; ``times`` None: until cleared."""

    endpoint: Endpoint
    kind: FaultKind
    errcode: int = -1
    status: int = 500
    seconds: float = 3.0
    times: int | None = 1
    acted: bool = False


@dataclass(frozen=True)
class ClearFaults(Step):
    """From now on all goes well."""


@dataclass(frozen=True)
class RevokeToken(Step):
    """Every access token given so far is refused from now on."""


@dataclass(frozen=True)
class SetMode(Step):
    """Pushes are protected like this from now on."""

    mode: Mode


@dataclass(frozen=True)
class SetFormat(Step):
    """Pushes are written in this from now on."""

    format: Format


@dataclass(frozen=True)
class DeliverTwiceAtOnce(Step):
    """Whether the first try of each push is made twice at the same moment from now on."""

    on: bool = True


@dataclass(frozen=True)
class InOrder(Step):
    """Whether a user's push waits for the one before from now on."""

    on: bool = True


@dataclass(frozen=True)
class Hold(Step):
    """All pushes are kept back from now on."""


@dataclass(frozen=True)
class Release(Step):
    """What was kept back is delivered: in the order it was sent, or the last one first."""

    order: ReleaseOrder = "sent"


@dataclass(frozen=True)
class Transcript:
    """A conversation. ``mode`` and ``format`` are those of the beginning.

    ``typing``: whether "Typing" and "CancelTyping" count in what users see.
    """

    account_kind: AccountKind
    mode: Mode
    format: Format
    steps: tuple[Step, ...]
    typing: bool = True


def user_of(step: Step) -> str:
    """Whom a step is about; empty for what concerns everybody."""
    if isinstance(step, (UserStep, Takes, Writes, Closes, HandsOver, Redeliver)):
        return step.user
    return ""


# -- how values are read and written


class _Wrong(Exception):
    """What is wrong, and at which node."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


@dataclass(frozen=True)
class _Kind:
    """How a value is read from a node (raises _Wrong) and written in one line or as a block of lines."""

    read: Callable[[Node], Any]
    write: Callable[[Any], list[str]]


_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + tag for tag in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})")
_NUMBER = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][-+]?[0-9]{1,3})?")
_INDENT = "    "
_BASE64_COLUMNS = 76
_FLOW_COLUMNS = 100
_resolver = yaml.resolver.Resolver()


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null" and node.value == ""


def _read_text(node: Node) -> str:
    """What was written, also where YAML takes it for a number or a date: texts are what users write."""
    if not isinstance(node, ScalarNode):
        raise _Wrong(node, "a text belongs here; quote it if it has brackets, braces or a colon")
    if node.tag not in _SCALAR_TAGS:
        raise _Wrong(node, f"a text belongs here, without the tag {_short(node.tag)}")
    if _is_empty(node):
        raise _Wrong(node, 'a text is missing here; an empty one is written ""')
    return str(node.value)


def _read_name(node: Node) -> str:
    name = _read_text(node)
    if not 1 <= len(name) <= _MAX_NAME:
        raise _Wrong(node, f"a name has 1 to {_MAX_NAME} characters")
    return name


def _read_number(node: Node, low: float = -1e300, high: float = 1e300) -> float:
    text = _read_text(node)
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not low <= number <= high:
        bounds = "" if high == 1e300 else f" from {low:g} to {high:g}"
        raise _Wrong(node, f"{_short(text)} is not a number{bounds}")
    return number


def _read_integer(node: Node, low: int = -(10**18), high: int = 10**18) -> int:
    text = _read_text(node)
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or not low <= number <= high:
        bounds = "" if high == 10**18 else f" from {low} to {high}"
        raise _Wrong(node, f"{_short(text)} is not a whole number{bounds}")
    return number


def _read_flag(node: Node) -> bool:
    text = _read_text(node)
    if text not in ("true", "false"):
        raise _Wrong(node, f"{_short(text)} is neither true nor false")
    return text == "true"


def _read_times(node: Node) -> int | None:
    if _read_text(node) == "always":
        return None
    try:
        return _read_integer(node, 1, 10**6)
    except _Wrong as wrong:
        raise _Wrong(node, wrong.reason + ", nor `always`") from None


def _read_bytes(node: Node) -> bytes | None:
    if _is_empty(node):
        return None
    if not isinstance(node, ScalarNode) or node.tag != _TAG + "binary":
        raise _Wrong(node, "the file belongs here as `!!binary` and its base64, or nothing at all for a small one")
    try:
        content = base64.b64decode("".join(node.value.split()), validate=True)
    except (binascii.Error, ValueError):  # ValueError: letters that are not ASCII
        raise _Wrong(node, "this is no base64; `base64 < FILE` writes it") from None
    if not content:
        raise _Wrong(node, "the file is empty; leave the value out for a small one")
    return content


def _read_pattern(node: Node) -> Matches:
    text = _read_text(node)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as problem:
        raise _Wrong(node, f"{_short(text)} is no regular expression: {problem}") from None
    return Matches(text)


def _read_thing(node: Node) -> Thing:
    if not isinstance(node, MappingNode):
        return _read_text(node)
    pairs = _pairs(node)
    _check_keys(node, pairs, ["matches"], "what a user sees")
    if "matches" not in pairs:
        raise _Wrong(node, "what a user sees is a text or {matches: REGULAR EXPRESSION}")
    return _read_pattern(pairs["matches"][1])


def _read_things(node: Node) -> tuple[Thing, ...]:
    items = node.value if isinstance(node, SequenceNode) else [node]
    return tuple(_read_thing(item) for item in items)


def _read_fields(node: Node) -> dict[str, Any]:
    if not isinstance(node, MappingNode):
        raise _Wrong(node, "fields belong here, such as {EventKey: menu-1}")
    return {name: _read_any(value) for name, (_, value) in _pairs(node).items()}


def _read_any(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return _read_fields(node)
    if isinstance(node, SequenceNode):
        return [_read_any(item) for item in node.value]
    if _is_empty(node):
        return None
    text = _read_text(node)
    if node.tag == _TAG + "int" and _INTEGER.fullmatch(text):
        return int(text)
    if node.tag == _TAG + "float" and _NUMBER.fullmatch(text):
        return float(text)
    known = {"true": True, "false": False, "null": None}  # YAML's other words for these are texts in a chat
    return known.get(text, text) if node.tag in (_TAG + "bool", _TAG + "null") else text


def _choice(options: Iterable[str]) -> _Kind:
    known = tuple(options)

    def read(node: Node) -> str:
        text = _read_text(node)
        if text not in known:
            raise _Wrong(node, f"{_short(text)} is none of {', '.join(known)}{_guess(text, known)}")
        return text

    return _Kind(read, lambda value: [value])


def _inline(write: Callable[[Any], str]) -> Callable[[Any], list[str]]:
    return lambda value: [write(value)]


def _write_text(text: str) -> list[str]:
    return _literal(text) or [_scalar(text)]


def _write_bytes(content: bytes | None) -> list[str]:
    if content is None:
        return [""]
    encoded = base64.b64encode(content).decode()
    if len(encoded) <= _BASE64_COLUMNS:
        return [f"!!binary {encoded}"]
    return ["!!binary |-", *_cut(encoded, _BASE64_COLUMNS)]


def _write_things(things: Sequence[Thing]) -> list[str]:
    flow = f"[{', '.join(map(_write_thing, things))}]"
    if len(flow) <= _FLOW_COLUMNS and not any(isinstance(thing, str) and "\n" in thing for thing in things):
        return [flow]
    lines = [""]
    for thing in things:
        first, *rest = _write_text(thing) if isinstance(thing, str) else [_write_thing(thing)]
        lines += [f"- {first}", *(line and "  " + line for line in rest)]
    return lines


def _write_thing(thing: Thing) -> str:
    return _scalar(thing) if isinstance(thing, str) else f"{{matches: {_quoted(thing.pattern)}}}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(name))}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value) if isinstance(value, (int, float)) else _scalar(str(value))


def _number(value: float) -> str:
    text = repr(value)
    if "e" in text and "." not in text:
        return text.replace("e", ".0e")  # else YAML takes it for a text
    return text


def _seconds(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 10**15 else _number(value)


def _scalar(text: str) -> str:
    """``text`` without quotes where it can be read so in every place, else with them."""
    is_plain = _PLAIN.fullmatch(text) and text.isprintable() and not text.endswith(" ")
    if is_plain and _resolver.resolve(ScalarNode, text, (True, False)) == _TAG + "str":  # type: ignore[no-untyped-call]
        return text
    return _quoted(text)


_PLAIN = re.compile(r"""[^-?:,\[\]{}#&*!|>'"%@`=<~ ][^:#,\[\]{}"\\]*""")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_JOINER = "\u200d"  # within many emoji


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() or character == _JOINER:
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _literal(text: str) -> list[str]:
    """``text`` of several lines as a block, if nothing in it could be lost or overlooked so; else nothing."""
    lines = text.removesuffix("\n").split("\n")
    is_clean = all(line.replace(_JOINER, "").isprintable() and not line.endswith(" ") for line in lines)
    if len(lines) < 2 or not is_clean or not lines[-1] or not lines[0] or lines[0].startswith(" "):
        return []
    return ["|" if text.endswith("\n") else "|-", *lines]


def _cut(text: str, columns: int) -> Iterator[str]:
    return (text[start : start + columns] for start in range(0, len(text), columns))


_TEXT = _Kind(_read_text, _write_text)
_OPTIONAL = _Kind(
    lambda node: "" if _is_empty(node) else _read_text(node), lambda text: _write_text(text) if text else [""]
)
_NAME = _Kind(_read_name, _inline(_scalar))
_BYTES = _Kind(_read_bytes, _write_bytes)
_DEGREES = _Kind(_read_number, _inline(_number))
_SECONDS = _Kind(lambda node: _read_number(node, 0, MAX_SECONDS), _inline(_seconds))
_INT = _Kind(_read_integer, _inline(str))
_COUNT = _Kind(lambda node: _read_integer(node, 1, 10**6), _inline(str))
_STATUS = _Kind(lambda node: _read_integer(node, 100, 599), _inline(str))
_TIMES = _Kind(_read_times, lambda times: ["always" if times is None else str(times)])
_FLAG = _Kind(_read_flag, lambda flag: ["true" if flag else "false"])
_SEEN = _Kind(_read_things, _write_things)
_FIELDS = _Kind(_read_fields, _inline(_flow))
_ACCOUNT = _choice(get_args(AccountKind))
_MODE = _choice(("plain", "compatible", "safe"))
_FORMAT = _choice(("json", "xml"))


# -- the grammar


@dataclass(frozen=True)
class _Form:
    """How a step is written: the field its head's value is, and its details by their words."""

    step: type[Step]
    main: tuple[str, _Kind] | None = None
    details: Mapping[str, tuple[str, _Kind]] = field(default_factory=dict)

    def is_needed(self, name: str) -> bool:
        return self.default_of(name) is MISSING

    def default_of(self, name: str) -> object:
        for each in fields(self.step):
            if each.name == name:
                return each.default if each.default_factory is MISSING else each.default_factory()
        raise KeyError(name)


_VERBS: dict[str, _Form] = {
    "says": _Form(Says, ("text", _TEXT)),
    "sees": _Form(Sees, ("things", _SEEN), {"within": ("within", _SECONDS)}),
    "sends picture": _Form(SendsPicture, ("content", _BYTES)),
    "sends voice": _Form(SendsVoice, ("content", _BYTES), {"sound": ("format", _TEXT)}),
    "sends video": _Form(SendsVideo, ("content", _BYTES)),
    "sends short video": _Form(SendsShortVideo, ("content", _BYTES)),
    "sends location": _Form(
        SendsLocation,
        ("label", _OPTIONAL),
        {"latitude": ("latitude", _DEGREES), "longitude": ("longitude", _DEGREES), "scale": ("scale", _INT)},
    ),
    "sends link": _Form(SendsLink, ("title", _TEXT), {"description": ("description", _TEXT), "url": ("url", _TEXT)}),
    "sends card": _Form(SendsCard, ("title", _TEXT), {"page": ("page_path", _TEXT), "appid": ("appid", _TEXT)}),
    "clicks menu item": _Form(ClicksMenuItem, ("label", _TEXT)),
    "enters": _Form(Enters, ("session_from", _OPTIONAL)),
    "follows": _Form(Follows, ("scene", _OPTIONAL), {"ticket": ("ticket", _TEXT)}),
    "leaves": _Form(Leaves),
    "scans": _Form(Scans, ("scene", _TEXT), {"ticket": ("ticket", _TEXT)}),
    "clicks": _Form(Clicks, ("key", _TEXT)),
    "views": _Form(Views, ("url", _TEXT), {"menu": ("menu_id", _TEXT)}),
    "does": _Form(Does, ("event", _TEXT), {"fields": ("fields", _FIELDS)}),
    "sends": _Form(Sends, ("msg_type", _TEXT), {"fields": ("fields", _FIELDS)}),
    "takes": _Form(Takes, ("user", _NAME)),
    "writes": _Form(Writes, ("text", _TEXT), {"to": ("user", _NAME)}),
    "closes": _Form(Closes, ("user", _NAME), {"close_type": ("close_type", _TEXT)}),
    "hands over": _Form(HandsOver, ("user", _NAME), {"to": ("other", _NAME)}),
}
_ORDERS: dict[str, _Form] = {
    "forward": _Form(Forward, ("seconds", _SECONDS)),
    "redeliver": _Form(Redeliver, ("user", _NAME), {"push": ("push", _COUNT)}),
    "fault": _Form(
        Fault,
        ("endpoint", _choice(get_args(Endpoint))),
        {
            "kind": ("kind", _choice(get_args(FaultKind))),
            "errcode": ("errcode", _INT),
            "status": ("status", _STATUS),
            "seconds": ("seconds", _SECONDS),
            "times": ("times", _TIMES),
            "acted": ("acted", _FLAG),
        },
    ),
    "clear faults": _Form(ClearFaults),
    "revoke token": _Form(RevokeToken),
    "mode": _Form(SetMode, ("mode", _MODE)),
    "format": _Form(SetFormat, ("format", _FORMAT)),
    "deliver twice at once": _Form(DeliverTwiceAtOnce, ("on", _FLAG)),
    "in order": _Form(InOrder, ("on", _FLAG)),
    "hold": _Form(Hold),
    "release": _Form(Release, ("order", _choice(get_args(ReleaseOrder)))),
}
_WORDS = {form.step: (words, form) for words, form in {**_VERBS, **_ORDERS}.items()}
_MINI_PROGRAM_ONLY = (Enters, SendsCard)
_OFFICIAL_ONLY = (
    SendsVoice,
    SendsVideo,
    SendsShortVideo,
    SendsLocation,
    SendsLink,
    ClicksMenuItem,
    Follows,
    Leaves,
    Scans,
    Clicks,
    Views,
)
_TOP = ("wxbot-transcript", "account", "mode", "format", "typing", "steps")


# -- reading


def read(text: str, name: str = "transcript") -> Transcript:
    """The transcript in ``text``; ``name`` is that of its file, for the errors. Raises BadTranscript."""
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise BadTranscript(name, 1, f"the file has more than {MAX_BYTES >> 20} MB; send smaller pictures")
    try:
        return _read_transcript(_compose(text, name))
    except _Wrong as wrong:
        raise BadTranscript(name, _line(wrong.node), wrong.reason) from None


def _read_transcript(node: Node) -> Transcript:
    if not isinstance(node, MappingNode):
        raise _Wrong(node, f"this is no transcript: it begins with `wxbot-transcript: {VERSION}`")
    pairs = _pairs(node)
    _check_keys(node, pairs, _TOP, "a transcript")
    _check_version(node, pairs)
    kind: AccountKind = _read_top(pairs, "account", _ACCOUNT, "miniprogram")
    mode: Mode = _read_top(pairs, "mode", _MODE, "safe")
    form: Format = _read_top(pairs, "format", _FORMAT, "json" if kind == "miniprogram" else "xml")
    if form == "json" and kind != "miniprogram":
        raise _Wrong(pairs["format"][1], _XML_ONLY)
    steps = tuple(_read_step(step, kind) for step in _step_nodes(node, pairs))
    return Transcript(kind, mode, form, steps, _read_top(pairs, "typing", _FLAG, True))


_XML_ONLY = "the format is xml: WeChat pushes JSON to Mini Programs only"


def _check_version(node: Node, pairs: Mapping[str, tuple[Node, Node]]) -> None:
    if "wxbot-transcript" not in pairs:
        raise _Wrong(node, f"this is no transcript: the line `wxbot-transcript: {VERSION}` is missing")
    version = pairs["wxbot-transcript"][1]
    if _read_text(version) != str(VERSION):
        raise _Wrong(version, f"this wxbot reads version {VERSION} of transcripts, not {_short(_read_text(version))}")


def _read_top(pairs: Mapping[str, tuple[Node, Node]], name: str, kind: _Kind, default: Any) -> Any:
    return kind.read(pairs[name][1]) if name in pairs else default


def _step_nodes(node: Node, pairs: Mapping[str, tuple[Node, Node]]) -> list[Node]:
    if "steps" not in pairs:
        raise _Wrong(node, "`steps:` is missing, with what happens below it")
    steps = pairs["steps"][1]
    if not isinstance(steps, SequenceNode):
        raise _Wrong(steps, "steps are a list: begin each with a dash")
    if len(steps.value) > MAX_STEPS:
        raise _Wrong(steps.value[MAX_STEPS], f"there are more than {MAX_STEPS} steps; make several files of it")
    nodes: list[Node] = steps.value
    return nodes


def _read_step(node: Node, account_kind: AccountKind) -> Step:
    head, value, details = _head(node)
    form, subject = _form_of(head, node)
    given: dict[str, Any] = dict(subject)
    if form.main is not None:
        given |= _read_main(form, head, node, value)
    elif value is not None and not _is_empty(value):
        raise _Wrong(value, f"nothing belongs after `{_short(head)}:`")
    _check_keys(node, details, form.details, f"`{_short(head)}`")
    for word, (name, kind) in form.details.items():
        if word in details:
            given[name] = kind.read(details[word][1])
        elif form.is_needed(name):
            raise _Wrong(node, f"`{_short(head)}` needs the detail `{word}`")
    step = form.step(**given, line=_line(node))
    _check_account(node, step, account_kind)
    return step


def _read_main(form: _Form, head: str, node: Node, value: Node | None) -> dict[str, Any]:
    name, kind = form.main or ("", _TEXT)
    if value is None or (_is_empty(value) and not form.is_needed(name)):
        if form.is_needed(name):
            raise _Wrong(node, f"something is missing after `{_short(head)}`")
        return {}
    return {name: kind.read(value)}


_Pairs: TypeAlias = Mapping[str, tuple[Node, Node]]


def _head(node: Node) -> tuple[str, Node | None, _Pairs]:
    """The head of a step, its value if it has one, and the details."""
    if isinstance(node, ScalarNode) and not _is_empty(node):
        return _read_text(node), None, {}
    if not isinstance(node, MappingNode) or not node.value:
        raise _Wrong(node, "a step is written like `amy says: 你好` or `forward: 31`")
    pairs = _pairs(node)
    heads = [key for key in pairs if _find(key)]
    if len(heads) > 1:
        raise _Wrong(
            pairs[heads[1]][0], f"`{_short(heads[0])}` and `{_short(heads[1])}` are two steps: begin each with a dash"
        )
    head = heads[0] if heads else next(iter(pairs))
    return head, pairs[head][1], {key: pair for key, pair in pairs.items() if key != head}


def _find(head: str) -> tuple[_Form, str] | None:
    """The form of a head and who it is about ("" for an order)."""
    if head in _ORDERS:
        return _ORDERS[head], ""
    for verb, form in _VERBS.items():
        if head.endswith(" " + verb):
            return form, head.removesuffix(" " + verb)
    return None


def _form_of(head: str, node: Node) -> tuple[_Form, dict[str, str]]:
    found = _find(head)
    if found is None:
        raise _Wrong(node, _no_such_step(head))
    form, name = found
    if head in _ORDERS:
        return form, {}
    if not 1 <= len(name) <= _MAX_NAME:
        raise _Wrong(node, f"a name has 1 to {_MAX_NAME} characters")
    return form, {"agent" if issubclass(form.step, AgentStep) else "user": name}


def _no_such_step(head: str) -> str:
    verbs, orders = ", ".join(_VERBS), ", ".join(_ORDERS)
    words = head.split(" ")
    name = words[0] if len(words) > 1 else "NAME"
    guess = _guess(head, [*_ORDERS, *(f"{name} {verb}" for verb in _VERBS)])
    return f"there is no step {_short(head)}{guess}. A step is a name and one of: {verbs}; or one of: {orders}"


def _check_account(node: Node, step: Step, account_kind: AccountKind) -> None:
    if fits(step, account_kind):
        return
    if isinstance(step, SetFormat):
        raise _Wrong(node, _XML_ONLY)
    is_mini_program = account_kind == "miniprogram"
    here, there = ("a Mini Program", "official") if is_mini_program else ("an Official Account", "miniprogram")
    words = _WORDS[type(step)][0]
    raise _Wrong(node, f"no user of {here} {words}; `account: {there}` at the top changes the account")


def fits(step: Step, account_kind: AccountKind) -> bool:
    """Whether this can happen at an account of this kind."""
    if account_kind == "miniprogram":
        return not isinstance(step, _OFFICIAL_ONLY)
    return not isinstance(step, _MINI_PROGRAM_ONLY) and step != SetFormat("json")


def _pairs(node: MappingNode) -> dict[str, tuple[Node, Node]]:
    """Key and value nodes, by the key's text."""
    pairs: dict[str, tuple[Node, Node]] = {}
    for key, value in node.value:
        text = _read_text(key)
        if text in pairs:
            raise _Wrong(key, f"`{_short(text)}` stands here twice; a new step begins with a dash")
        pairs[text] = (key, value)
    return pairs


def _check_keys(node: Node, pairs: _Pairs, known: Iterable[str], what: str) -> None:
    names = list(known)
    for key, (key_node, _) in pairs.items():
        if key not in names:
            there = f"there are {', '.join(names)}" if names else "there are none"
            raise _Wrong(key_node, f"{what} has no `{_short(key)}`{_guess(key, names)}; {there}")


def _guess(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:_MAX_NAME], list(known), 1, 0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _short(text: str) -> str:
    """``text`` for an error: in one line and not too long."""
    shown = "".join(character if character.isprintable() else _escaped(character) for character in text[:60])
    return shown + ("…" if len(text) > 60 else "")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


# -- YAML


def _compose(text: str, name: str) -> Node:
    try:
        node = _Composer(_parser(text)).document()
    except yaml.reader.ReaderError as problem:
        raise BadTranscript(name, *_unreadable(text, problem.position)) from None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise BadTranscript(name, line, f"this is no YAML: {_yaml_words(problem)}") from None
    except (ValueError, OverflowError):  # PyYAML's, at an escape beyond U+10FFFF: it does not say where
        reason = "this is no YAML: an escape in double quotes (\\U…) means no character"
        raise BadTranscript(name, _line_of(text, "\\U"), reason) from None
    if node is None:
        raise BadTranscript(name, 1, f"the file is empty; it begins with `wxbot-transcript: {VERSION}`")
    return node


def _parser(text: str) -> Iterator[yaml.Event]:
    """The events of ``text``. PyYAML's own parser takes a second for each MB, so large files go to libyaml."""
    if len(text) > _LARGE and yaml.__with_libyaml__ and not _SURROGATE.search(text):
        return yaml.parse(text, yaml.CSafeLoader)
    return yaml.parse(text, yaml.SafeLoader)


_LARGE = 1 << 18
_SURROGATE = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")  # libyaml takes none, not even as an escape


def _unreadable(text: str, position: int) -> tuple[int, str]:
    position = min(position, len(text) - 1)
    found = _NOT_YAML.search(text)
    if found is not None:
        position = found.start()
    code = ord(text[position])
    line = text[:position].count("\n") + 1
    return line, f'the character U+{code:04X} cannot stand in YAML; in double quotes it is "\\u{code:04x}"'


_NOT_YAML = yaml.reader.Reader.NON_PRINTABLE


def _line_of(text: str, part: str) -> int:
    return text[: max(0, text.find(part))].count("\n") + 1


def _yaml_words(problem: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (problem.context, problem.problem) if part]
    hint = "; quote a text with a colon in it" if "mapping values are not allowed" in str(problem.problem) else ""
    return ", ".join(map(str, parts)) + hint


class _Composer:
    """Makes nodes without anchors and aliases, not too many and not too deep: no small file becomes a huge one."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._count = 0

    def document(self) -> Node | None:
        """The one document of the file; None if it is empty."""
        node: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    _refuse(event, "there is a second document; a file holds one transcript")
                node = self._node(next(self._events), 0)
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._check(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return ScalarNode(_tag_of(event), event.value, *_marks(event))
        if isinstance(event, yaml.SequenceStartEvent):
            return SequenceNode(_TAG + "seq", list(self._inner(depth)), *_marks(event))
        inner = list(self._inner(depth))
        pairs = list(zip(inner[::2], inner[1::2], strict=True))
        return MappingNode(_TAG + "map", pairs, *_marks(event))

    def _inner(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            yield self._node(event, depth + 1)

    def _check(self, event: yaml.Event, depth: int) -> None:
        self._count += 1
        if getattr(event, "anchor", None) is not None:
            _refuse(event, "anchors and aliases (& and *) are not taken here: write the thing out, or quote the text")
        if depth > _MAX_DEPTH:
            _refuse(event, f"there are more than {_MAX_DEPTH} levels")
        if self._count > _MAX_NODES:
            _refuse(event, f"there are more than {_MAX_NODES} values")


def _refuse(event: yaml.Event, reason: str) -> NoReturn:
    raise _Wrong(ScalarNode(_TAG + "str", "", *_marks(event)), reason)


def _marks(event: Any) -> tuple[Any, Any]:
    """Where it stands; libyaml's marks have the same attributes as PyYAML's."""
    return event.start_mark, event.end_mark


def _tag_of(event: yaml.ScalarEvent) -> str:
    if event.tag is not None and event.tag != "!":
        return str(event.tag)
    return str(_resolver.resolve(ScalarNode, event.value, event.implicit))  # type: ignore[no-untyped-call]


# -- writing


def write(transcript: Transcript) -> str:
    """``transcript`` as YAML, to be read by people and by ``read``."""
    lines = [
        f"wxbot-transcript: {VERSION}",
        f"account: {transcript.account_kind}",
        f"mode: {transcript.mode}",
        f"format: {transcript.format}",
    ]
    if not transcript.typing:
        lines.append("typing: false")
    lines.append("steps:" if transcript.steps else "steps: []")
    for step in transcript.steps:
        lines += _write_step(step)
    return "\n".join(lines) + "\n"


def _write_step(step: Step) -> list[str]:
    words, form = _WORDS[type(step)]
    subject = step.agent if isinstance(step, AgentStep) else step.user if isinstance(step, UserStep) else ""
    head = "- " + _scalar(f"{subject} {words}" if subject else words)
    main = [head] if form.main is None else _write_value(head, *form.main, step)
    details: list[str] = []
    for word, (name, kind) in form.details.items():
        if getattr(step, name) != form.default_of(name):
            details += _write_value(f"  {word}", name, kind, step)
    if details and main == [head]:
        main = [head + ":"]
    return main + details


def _write_value(head: str, name: str, kind: _Kind, step: Step) -> list[str]:
    first, *rest = kind.write(getattr(step, name))
    if not first and not rest:
        return [head]
    return [f"{head}: {first}".rstrip(), *(line and _INDENT + line for line in rest)]
