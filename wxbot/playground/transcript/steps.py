"""The steps of a transcript, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_type_hints

from wxbot.playground.transcript.values import (
    BYTES,
    COUNT,
    DEGREES,
    FIELDS,
    FLAG,
    FORMAT,
    INT,
    MODE,
    NAME,
    OPTIONAL,
    SECONDS,
    SEEN,
    STATUS,
    TEXT,
    TIMES,
    Kind,
    Thing,
    choice,
)
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.faults import Endpoint
from wxbot.testing.rules import AccountKind

VERSION = 1
"""The version of the file format, as in the first line of a file."""
MAX_STEPS = 10_000
"""Maximum number of steps in a transcript."""
FaultKind = Literal["fail", "http", "drop", "slow", "hang"]
ReleaseOrder = Literal["sent", "reversed"]


WORDS: dict[str, type[Step]] = {}
"""The classes of steps by their words: those after the name of a user or an agent, or the whole head."""


@dataclass(frozen=True)
class Step:
    """A step. ``line``: its line in the file, counted from 1; 0 if it is not from a file.

    A subclass gives its ``words``, and ``only``, the kind of account, if other kinds do not have this step. The
    annotations of its fields say how they are read and written (``wxbot.playground.transcript.values``).
    """

    line: int = field(default=0, compare=False, kw_only=True)

    words: ClassVar[str]
    only: ClassVar[Literal["miniprogram", "official", ""]]

    def __init_subclass__(cls, words: str = "", only: Literal["miniprogram", "official", ""] = "") -> None:
        cls.words, cls.only = words, only
        if words:
            WORDS[words] = cls


@dataclass(frozen=True)
class UserStep(Step):
    """A step of a user, who is identified by name."""

    user: str


@dataclass(frozen=True)
class Says(UserStep, words="says"):
    """The user sends a text."""

    text: Annotated[str, TEXT]


@dataclass(frozen=True)
class Sees(UserStep, words="sees"):
    """The items that the user sees after those of the user's previous ``Sees``.

    ``within``: real seconds to wait for the last item, if not the default.
    """

    things: Annotated[tuple[Thing, ...], SEEN]
    within: Annotated[float | None, SECONDS] = None


@dataclass(frozen=True)
class SendsPicture(UserStep, words="sends picture"):
    """The user sends an image. Without ``content`` it is a small sample (wxbot.testing.SAMPLE_IMAGE)."""

    content: Annotated[bytes | None, BYTES] = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsVoice(UserStep, words="sends voice", only="official"):
    """The user sends a voice message. Without ``content`` it is a short sample. ``format``: amr or speex."""

    content: Annotated[bytes | None, BYTES] = field(default=None, repr=False)
    format: Annotated[str, TEXT.named("sound")] = "amr"


@dataclass(frozen=True)
class SendsVideo(UserStep, words="sends video", only="official"):
    """The user sends a video. Without ``content`` it is a small sample."""

    content: Annotated[bytes | None, BYTES] = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsShortVideo(UserStep, words="sends short video", only="official"):
    """The user sends a short video. Without ``content`` it is a small sample."""

    content: Annotated[bytes | None, BYTES] = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsLocation(UserStep, words="sends location", only="official"):
    """The user sends a location. Latitude and longitude are in degrees."""

    latitude: Annotated[float, DEGREES]
    longitude: Annotated[float, DEGREES]
    label: Annotated[str, OPTIONAL.main()] = ""
    scale: Annotated[int, INT] = 16


@dataclass(frozen=True)
class SendsLink(UserStep, words="sends link", only="official"):
    """The user sends a link."""

    title: Annotated[str, TEXT]
    description: Annotated[str, TEXT] = ""
    url: Annotated[str, TEXT] = ""


@dataclass(frozen=True)
class SendsCard(UserStep, words="sends card", only="miniprogram"):
    """The user sends a Mini Program card. Without ``appid`` it is the AppID of the account itself."""

    title: Annotated[str, TEXT]
    page_path: Annotated[str, TEXT.named("page")]
    appid: Annotated[str, TEXT] = ""


@dataclass(frozen=True)
class ClicksMenuItem(UserStep, words="clicks menu item", only="official"):
    """The user clicks an item of the latest menu message (msgmenu) that contains it."""

    label: Annotated[str, TEXT]


@dataclass(frozen=True)
class Enters(UserStep, words="enters", only="miniprogram"):
    """The user enters the customer-service session."""

    session_from: Annotated[str, OPTIONAL] = ""


@dataclass(frozen=True)
class Follows(UserStep, words="follows", only="official"):
    """The user follows the account. With a ``scene``, by scanning a QR code."""

    scene: Annotated[str, OPTIONAL] = ""
    ticket: Annotated[str, TEXT] = ""


@dataclass(frozen=True)
class Leaves(UserStep, words="leaves", only="official"):
    """The user unfollows the account."""


@dataclass(frozen=True)
class Scans(UserStep, words="scans", only="official"):
    """The user, who follows the account already, scans a QR code."""

    scene: Annotated[str, TEXT]
    ticket: Annotated[str, TEXT] = ""


@dataclass(frozen=True)
class Clicks(UserStep, words="clicks", only="official"):
    """The user clicks an item of the account's menu."""

    key: Annotated[str, TEXT]


@dataclass(frozen=True)
class Views(UserStep, words="views", only="official"):
    """The user clicks an item of the account's menu that opens a web page."""

    url: Annotated[str, TEXT]
    menu_id: Annotated[str, TEXT.named("menu")] = "1"


@dataclass(frozen=True)
class Does(UserStep, words="does"):
    """Any event. ``fields``: its fields, with WeChat's names."""

    event: Annotated[str, TEXT]
    fields: Annotated[Mapping[str, Any], FIELDS] = field(default_factory=dict)


@dataclass(frozen=True)
class Sends(UserStep, words="sends"):
    """A message of any MsgType. ``fields``: its fields, with WeChat's names."""

    msg_type: Annotated[str, TEXT]
    fields: Annotated[Mapping[str, Any], FIELDS] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentStep(Step):
    """A step of a human agent, who is identified by account."""

    agent: str


@dataclass(frozen=True)
class Takes(AgentStep, words="takes"):
    """The agent begins a session with the user."""

    user: Annotated[str, NAME]


@dataclass(frozen=True)
class Writes(AgentStep, words="writes"):
    """The agent sends a text to the user."""

    text: Annotated[str, TEXT]
    user: Annotated[str, NAME.named("to")]


@dataclass(frozen=True)
class Closes(AgentStep, words="closes"):
    """The agent closes the session with the user."""

    user: Annotated[str, NAME]
    close_type: Annotated[str, TEXT] = ""


@dataclass(frozen=True)
class HandsOver(AgentStep, words="hands over"):
    """The agent transfers the session to the agent ``other``."""

    user: Annotated[str, NAME]
    other: Annotated[str, NAME.named("to")]


@dataclass(frozen=True)
class Waits(Step, words="waits"):
    """No step happens for ``seconds`` of real time, because the bot was processing in this pause."""

    seconds: Annotated[float, SECONDS]


@dataclass(frozen=True)
class Forward(Step, words="forward"):
    """The clock is advanced by ``seconds``."""

    seconds: Annotated[float, SECONDS]


@dataclass(frozen=True)
class Redeliver(Step, words="redeliver"):
    """WeChat redelivers a push of the user: the last one, or number ``push``, counted from 1.

    Every action of the user is a push, and so is every event of an agent session.
    """

    user: Annotated[str, NAME]
    push: Annotated[int | None, COUNT] = None


@dataclass(frozen=True)
class Fault(Step, words="fault"):
    """A fault is injected, as described in wxbot/testing/faults.py. ``times`` None means until cleared."""

    endpoint: Annotated[Endpoint, choice(get_args(Endpoint))]
    kind: Annotated[FaultKind, choice(get_args(FaultKind))]
    errcode: Annotated[int, INT] = -1
    status: Annotated[int, STATUS] = 500
    seconds: Annotated[float, SECONDS] = 3.0
    times: Annotated[int | None, TIMES] = 1
    acted: Annotated[bool, FLAG] = False


@dataclass(frozen=True)
class ClearFaults(Step, words="clear faults"):
    """All faults are cleared."""


@dataclass(frozen=True)
class RevokeToken(Step, words="revoke token"):
    """All access tokens that were issued become invalid."""


@dataclass(frozen=True)
class SetMode(Step, words="mode"):
    """The mode of the pushes changes."""

    mode: Annotated[Mode, MODE]


@dataclass(frozen=True)
class SetFormat(Step, words="format"):
    """The format of the pushes changes."""

    format: Annotated[Format, FORMAT]


@dataclass(frozen=True)
class DeliverTwiceAtOnce(Step, words="deliver twice at once"):
    """Deliver the first attempt of each push twice at the same time, or stop doing so."""

    on: Annotated[bool, FLAG] = True


@dataclass(frozen=True)
class InOrder(Step, words="in order"):
    """Deliver the pushes of a user in order, or stop doing so."""

    on: Annotated[bool, FLAG] = True


@dataclass(frozen=True)
class Hold(Step, words="hold"):
    """Hold all pushes back."""


@dataclass(frozen=True)
class Release(Step, words="release"):
    """Deliver the held pushes: in the order they were sent, or the last one first."""

    order: Annotated[ReleaseOrder, choice(get_args(ReleaseOrder))] = "sent"


@dataclass(frozen=True)
class Transcript:
    """A transcript. ``mode`` and ``format`` are those at the start.

    ``typing``: if False, "Typing" and "CancelTyping" are not compared.
    """

    account_kind: AccountKind
    mode: Mode
    format: Format
    steps: tuple[Step, ...]
    typing: bool = True


def user_of(step: Step) -> str:
    """Return the name of the user of a step, or "" for a step of no user."""
    if isinstance(step, (UserStep, Takes, Writes, Closes, HandsOver, Redeliver)):
        return step.user
    return ""


# Forms


class Part(NamedTuple):
    """A field of a step in YAML: its key, name and kind, and its default (MISSING if it is required)."""

    key: str
    name: str
    kind: Kind
    default: object

    @property
    def is_needed(self) -> bool:
        return self.default is MISSING


class Form(NamedTuple):
    """The YAML form of a class of steps: the value in its head, if it has one, and its details by their keys."""

    main: Part | None
    details: Mapping[str, Part]


def _form_of(step: type[Step]) -> Form:
    hints = get_type_hints(step, include_extras=True)
    parts = [_part(each, kind) for each in fields(step) for kind in getattr(hints[each.name], "__metadata__", ())]
    main = next((part for part in parts if part.kind.is_main), parts[0] if parts else None)
    return Form(main, {part.key: part for part in parts if part is not main})


def _part(each: Field[Any], kind: Kind) -> Part:
    default = each.default if each.default_factory is MISSING else each.default_factory()
    return Part(kind.key or each.name, each.name, kind, default)


FORMS = {step: _form_of(step) for step in WORDS.values()}
"""The form of each class of steps."""


def has_subject(step: type[Step]) -> bool:
    """Return True if the words of the step come after the name of a user or an agent."""
    return issubclass(step, (UserStep, AgentStep))


def find(head: str) -> tuple[type[Step], str] | None:
    """Return the class of a head, and the name in it ("" for a control step). Return None for an unknown head."""
    for words, step in WORDS.items():
        if has_subject(step) and head.endswith(" " + words):
            return step, head.removesuffix(" " + words)
        if not has_subject(step) and head == words:
            return step, ""
    return None


def fits(step: Step, account_kind: AccountKind) -> bool:
    """Return True if this step is possible at an account of this kind."""
    if account_kind == "miniprogram":
        return step.only != "official"
    return step.only != "miniprogram" and step != SetFormat("json")
