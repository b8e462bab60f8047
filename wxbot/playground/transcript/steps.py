"""The steps of a transcript, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wxbot.testing.envelope import Format, Mode
from wxbot.testing.faults import Endpoint
from wxbot.testing.rules import AccountKind

VERSION = 1
"""The version of the file format, as in the first line of a file."""
MAX_STEPS = 10_000
"""Maximum number of steps in a transcript."""
MAX_SECONDS = 30 * 24 * 3600.0
"""Maximum number of seconds that one step advances the clock: 30 days."""
MAX_NAME = 200
"""Maximum length of a user's or an agent's name in characters. YAML limits a key to 1024."""

FaultKind = Literal["fail", "http", "drop", "slow", "hang"]
ReleaseOrder = Literal["sent", "reversed"]


@dataclass(frozen=True)
class Step:
    """A step. ``line``: its line in the file, counted from 1; 0 if it is not from a file."""

    line: int = field(default=0, compare=False, kw_only=True)


@dataclass(frozen=True)
class UserStep(Step):
    """A step of a user, who is identified by name."""

    user: str


@dataclass(frozen=True)
class Says(UserStep):
    """The user sends a text."""

    text: str


@dataclass(frozen=True)
class SendsPicture(UserStep):
    """The user sends an image. Without ``content`` it is a small sample (wxbot.testing.SAMPLE_IMAGE)."""

    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsVoice(UserStep):
    """The user sends a voice message. Without ``content`` it is a short sample. ``format``: amr or speex."""

    content: bytes | None = field(default=None, repr=False)
    format: str = "amr"


@dataclass(frozen=True)
class SendsVideo(UserStep):
    """The user sends a video. Without ``content`` it is a small sample."""

    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsShortVideo(UserStep):
    """The user sends a short video. Without ``content`` it is a small sample."""

    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SendsLocation(UserStep):
    """The user sends a location. Latitude and longitude are in degrees."""

    latitude: float
    longitude: float
    label: str = ""
    scale: int = 16


@dataclass(frozen=True)
class SendsLink(UserStep):
    """The user sends a link."""

    title: str
    description: str = ""
    url: str = ""


@dataclass(frozen=True)
class SendsCard(UserStep):
    """The user sends a Mini Program card. Without ``appid`` it is the AppID of the account itself."""

    title: str
    page_path: str
    appid: str = ""


@dataclass(frozen=True)
class ClicksMenuItem(UserStep):
    """The user clicks an item of the latest menu message (msgmenu) that contains it."""

    label: str


@dataclass(frozen=True)
class Enters(UserStep):
    """The user enters the customer-service session."""

    session_from: str = ""


@dataclass(frozen=True)
class Follows(UserStep):
    """The user follows the account. With a ``scene``, by scanning a QR code."""

    scene: str = ""
    ticket: str = ""


@dataclass(frozen=True)
class Leaves(UserStep):
    """The user unfollows the account."""


@dataclass(frozen=True)
class Scans(UserStep):
    """The user, who follows the account already, scans a QR code."""

    scene: str
    ticket: str = ""


@dataclass(frozen=True)
class Clicks(UserStep):
    """The user clicks an item of the account's menu."""

    key: str


@dataclass(frozen=True)
class Views(UserStep):
    """The user clicks an item of the account's menu that opens a web page."""

    url: str
    menu_id: str = "1"


@dataclass(frozen=True)
class Does(UserStep):
    """Any event. ``fields``: its fields, with WeChat's names."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sends(UserStep):
    """A message of any MsgType. ``fields``: its fields, with WeChat's names."""

    msg_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matches:
    """An expected message, given as a regular expression that must be found in it."""

    pattern: str


Thing: TypeAlias = str | Matches
"""One item that a user sees: the text that FakeWeChat reports, or a pattern for it."""


@dataclass(frozen=True)
class Sees(UserStep):
    """The items that the user sees after those of the user's previous ``Sees``.

    ``within``: real seconds to wait for the last item, if not the default.
    """

    things: tuple[Thing, ...]
    within: float | None = None


@dataclass(frozen=True)
class AgentStep(Step):
    """A step of a human agent, who is identified by account."""

    agent: str


@dataclass(frozen=True)
class Takes(AgentStep):
    """The agent begins a session with the user."""

    user: str


@dataclass(frozen=True)
class Writes(AgentStep):
    """The agent sends a text to the user."""

    text: str
    user: str


@dataclass(frozen=True)
class Closes(AgentStep):
    """The agent closes the session with the user."""

    user: str
    close_type: str = ""


@dataclass(frozen=True)
class HandsOver(AgentStep):
    """The agent transfers the session to the agent ``other``."""

    user: str
    other: str


@dataclass(frozen=True)
class Redeliver(Step):
    """WeChat redelivers a push of the user: the last one, or number ``push``, counted from 1.

    Every action of the user is a push, and so is every event of an agent session.
    """

    user: str
    push: int | None = None


@dataclass(frozen=True)
class Waits(Step):
    """No step happens for ``seconds`` of real time, because the bot was processing in this pause."""

    seconds: float


@dataclass(frozen=True)
class Forward(Step):
    """The clock is advanced by ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Fault(Step):
    """A fault is injected, as described in wxbot/testing/faults.py. ``times`` None means until cleared."""

    endpoint: Endpoint
    kind: FaultKind
    errcode: int = -1
    status: int = 500
    seconds: float = 3.0
    times: int | None = 1
    acted: bool = False


@dataclass(frozen=True)
class ClearFaults(Step):
    """All faults are cleared."""


@dataclass(frozen=True)
class RevokeToken(Step):
    """All access tokens that were issued become invalid."""


@dataclass(frozen=True)
class SetMode(Step):
    """The mode of the pushes changes."""

    mode: Mode


@dataclass(frozen=True)
class SetFormat(Step):
    """The format of the pushes changes."""

    format: Format


@dataclass(frozen=True)
class DeliverTwiceAtOnce(Step):
    """Deliver the first attempt of each push twice at the same time, or stop doing so."""

    on: bool = True


@dataclass(frozen=True)
class InOrder(Step):
    """Deliver the pushes of a user in order, or stop doing so."""

    on: bool = True


@dataclass(frozen=True)
class Hold(Step):
    """Hold all pushes back."""


@dataclass(frozen=True)
class Release(Step):
    """Deliver the held pushes: in the order they were sent, or the last one first."""

    order: ReleaseOrder = "sent"


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
