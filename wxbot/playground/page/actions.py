"""The request bodies of the page: user actions and control settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from wxbot.errors import WxbotError
from wxbot.playground.transcript import Fault
from wxbot.testing import Push, User
from wxbot.testing.envelope import Format
from wxbot.testing.rules import AccountKind

Body = TypeVar("Body")

MAX_TEXT = 20_000
"""Maximum number of characters of a text from the page."""
MAX_FIELDS = 50

_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Written = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class BadRequest(WxbotError):
    """The body of a request is invalid. The text names the field and the reason."""


def parse(kind: TypeAdapter[Body], body: bytes) -> Body:
    """Return the parsed body. Raises BadRequest."""
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"{location}: {first['msg']}" if location else first["msg"]) from None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NewUser(_Body):
    """A new user."""

    name: _Written


# -- user actions


class Says(_Body):
    action: Literal["says"]
    text: _Written

    def by(self, user: User) -> Push:
        return user.says(self.text)


class Enters(_Body):
    action: Literal["enters"]
    session_from: _Text = ""

    def by(self, user: User) -> Push:
        return user.enters(self.session_from)


class SendsCard(_Body):
    action: Literal["card"]
    title: _Written = "A page"
    page_path: _Written = "pages/index"

    def by(self, user: User) -> Push:
        return user.sends_mini_program_page(self.title, page_path=self.page_path)


class ClicksMenuItem(_Body):
    action: Literal["clicks_menu_item"]
    label: _Written

    def by(self, user: User) -> Push:
        return user.clicks_menu_item(self.label)


class Follows(_Body):
    action: Literal["follows"]
    scene: _Text = ""

    def by(self, user: User) -> Push:
        return user.follows(self.scene)


class Leaves(_Body):
    action: Literal["leaves"]

    def by(self, user: User) -> Push:
        return user.leaves()


class Scans(_Body):
    action: Literal["scans"]
    scene: _Written

    def by(self, user: User) -> Push:
        return user.scans(self.scene)


class Clicks(_Body):
    action: Literal["clicks"]
    key: _Written

    def by(self, user: User) -> Push:
        return user.clicks(self.key)


class Views(_Body):
    action: Literal["views"]
    url: _Written

    def by(self, user: User) -> Push:
        return user.views(self.url)


class SendsVoice(_Body):
    action: Literal["voice"]

    def by(self, user: User) -> Push:
        return user.sends_voice()


class SendsVideo(_Body):
    action: Literal["video"]

    def by(self, user: User) -> Push:
        return user.sends_video()


class SendsLocation(_Body):
    action: Literal["location"]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    label: _Text = ""

    def by(self, user: User) -> Push:
        return user.sends_location(self.latitude, self.longitude, label=self.label)


class SendsLink(_Body):
    action: Literal["link"]
    title: _Written = "A page"
    description: _Text = ""
    url: _Written = "http://127.0.0.1/page"

    def by(self, user: User) -> Push:
        return user.sends_link(self.title, self.description, self.url)


class DoesEvent(_Body):
    action: Literal["event"]
    event: _Written
    fields: Annotated[Mapping[Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,63}$")], str | int | float], Field()] = {}

    def by(self, user: User) -> Push:
        if len(self.fields) > MAX_FIELDS:
            raise ValueError(f"too many fields: an event may have at most {MAX_FIELDS}")
        if taken := _ENVELOPE & set(self.fields):
            raise ValueError(f"reserved fields, set by the platform: {', '.join(sorted(taken))}")
        return user.does(self.event, **self.fields)


_ENVELOPE = {"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "Encrypt"}

UserAction = (
    Says
    | Enters
    | SendsCard
    | ClicksMenuItem
    | Follows
    | Leaves
    | Scans
    | Clicks
    | Views
    | SendsVoice
    | SendsVideo
    | SendsLocation
    | SendsLink
    | DoesEvent
)


# -- controls


class Redelivery(_Body):
    """A redelivery of the last push of ``user``, or of the push in timeline row ``row``."""

    user: _Text = ""
    row: Annotated[int, Field(ge=0)] | None = None


class Controls(_Body):
    mode: Literal["plain", "compatible", "safe"] | None = None
    format: Format | None = None
    deliver_twice_at_once: bool | None = None
    in_order: bool | None = None
    hold: Literal[True] | None = None


class Release(_Body):
    order: Literal["sent", "reversed"] = "sent"


class FaultInjection(_Body):
    endpoint: Literal["typing", "send", "token", "upload", "download"]
    kind: Literal["fail", "http", "drop", "slow", "hang"]
    errcode: Annotated[int, Field(ge=-1, le=10_000_000)] = -1
    status: Annotated[int, Field(ge=400, le=599)] = 500
    seconds: Annotated[float, Field(gt=0, le=3600)] = 3
    times: Annotated[int, Field(ge=1, le=1000)] | None = 1
    acted: bool = False

    def step(self) -> Fault:
        """Return the step of a transcript for this fault."""
        return Fault(**self.model_dump())


class ClockAdvance(_Body):
    """An advance of the clock: by ``forward`` seconds, or ``to`` so many seconds after the user's last interaction."""

    forward: float | None = None
    user: _Text = ""
    to: Literal[29, 31, 172800] | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.forward is None) == (self.to is None):
            raise ValueError('expected either {"forward": seconds} or {"user": name, "to": 29, 31 or 172800}')
        return self


class AccountChange(_Body):
    kind: AccountKind


class AgentAction(_Body):
    agent: Annotated[str, Field(pattern=r"^[\w@.-]{1,64}$")]
    action: Literal["takes", "says", "closes"]
    user: _Written
    text: _Text = ""


class Empty(_Body):
    """An empty body."""


NEW_USER: TypeAdapter[NewUser] = TypeAdapter(NewUser)
USER_ACTION: TypeAdapter[UserAction] = TypeAdapter(Annotated[UserAction, Field(discriminator="action")])
REDELIVERY: TypeAdapter[Redelivery] = TypeAdapter(Redelivery)
CONTROLS: TypeAdapter[Controls] = TypeAdapter(Controls)
RELEASE: TypeAdapter[Release] = TypeAdapter(Release)
FAULT: TypeAdapter[FaultInjection] = TypeAdapter(FaultInjection)
CLOCK: TypeAdapter[ClockAdvance] = TypeAdapter(ClockAdvance)
ACCOUNT: TypeAdapter[AccountChange] = TypeAdapter(AccountChange)
AGENT_ACTION: TypeAdapter[AgentAction] = TypeAdapter(AgentAction)
EMPTY: TypeAdapter[Empty] = TypeAdapter(Empty)
