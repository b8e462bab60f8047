"""What a conversation consists of: its steps, who takes them, and the limits that hold for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wxbot.testing.envelope import Format, Mode
from wxbot.testing.faults import Endpoint
from wxbot.testing.rules import AccountKind

VERSION = 1
"""Of the format, as the first line of a file tells it."""
MAX_STEPS = 10_000
"""Of one transcript."""
MAX_SECONDS = 30 * 24 * 3600.0
"""The most the clock is turned by one step: 30 days."""
MAX_NAME = 200
"""Characters of a user's or an agent's name. YAML itself ends a key at 1024."""

FaultKind = Literal["fail", "http", "drop", "slow", "hang"]
ReleaseOrder = Literal["sent", "reversed"]


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
    """Sends a picture; without ``content`` a tiny one (wxbot.testing.SAMPLE_IMAGE)."""

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
class Waits(Step):
    """Nothing happens for so many real seconds: the bot is at work, and nobody sees what it does."""

    seconds: float


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
