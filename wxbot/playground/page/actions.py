"""What the page may ask for: the bodies of its requests, and the deeds and knobs they stand for."""

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
"""Characters of anything written at the page."""
MAX_FIELDS = 50

_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Written = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class BadRequest(WxbotError):
    """The body of a request is not what is asked for; the text says what is wrong where."""


def parse(kind: TypeAdapter[Body], body: bytes) -> Body:
    """The body as what it should be. Raises BadRequest."""
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"{place}: {first['msg']}" if place else first["msg"]) from None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NewUser(_Body):
    """A user who is not there yet."""

    name: _Written


# -- deeds


class Says(_Body):
    deed: Literal["says"]
    text: _Written

    def by(self, user: User) -> Push:
        return user.says(self.text)


class Enters(_Body):
    deed: Literal["enters"]
    session_from: _Text = ""

    def by(self, user: User) -> Push:
        return user.enters(self.session_from)


class SendsCard(_Body):
    deed: Literal["card"]
    title: _Written = "A page"
    page_path: _Written = "pages/index"

    def by(self, user: User) -> Push:
        return user.sends_mini_program_page(self.title, page_path=self.page_path)


class ClicksMenuItem(_Body):
    deed: Literal["clicks_menu_item"]
    label: _Written

    def by(self, user: User) -> Push:
        return user.clicks_menu_item(self.label)


class Follows(_Body):
    deed: Literal["follows"]
    scene: _Text = ""

    def by(self, user: User) -> Push:
        return user.follows(self.scene)


class Leaves(_Body):
    deed: Literal["leaves"]

    def by(self, user: User) -> Push:
        return user.leaves()


class Scans(_Body):
    deed: Literal["scans"]
    scene: _Written

    def by(self, user: User) -> Push:
        return user.scans(self.scene)


class Clicks(_Body):
    deed: Literal["clicks"]
    key: _Written

    def by(self, user: User) -> Push:
        return user.clicks(self.key)


class Views(_Body):
    deed: Literal["views"]
    url: _Written

    def by(self, user: User) -> Push:
        return user.views(self.url)


class SendsVoice(_Body):
    deed: Literal["voice"]

    def by(self, user: User) -> Push:
        return user.sends_voice()


class SendsVideo(_Body):
    deed: Literal["video"]

    def by(self, user: User) -> Push:
        return user.sends_video()


class SendsLocation(_Body):
    deed: Literal["location"]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    label: _Text = ""

    def by(self, user: User) -> Push:
        return user.sends_location(self.latitude, self.longitude, label=self.label)


class SendsLink(_Body):
    deed: Literal["link"]
    title: _Written = "A page"
    description: _Text = ""
    url: _Written = "http://127.0.0.1/page"

    def by(self, user: User) -> Push:
        return user.sends_link(self.title, self.description, self.url)


class DoesEvent(_Body):
    deed: Literal["event"]
    event: _Written
    fields: Annotated[Mapping[Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,63}$")], str | int | float], Field()] = {}

    def by(self, user: User) -> Push:
        if len(self.fields) > MAX_FIELDS:
            raise ValueError(f"an event has at most {MAX_FIELDS} fields here")
        if taken := _ENVELOPE & set(self.fields):
            raise ValueError(f"the platform itself writes {', '.join(sorted(taken))}")
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


# -- knobs


class Redelivery(_Body):
    """Of the last push of ``user``, or of the one that ``row`` tells of."""

    user: _Text = ""
    row: Annotated[int, Field(ge=0)] | None = None


class Knobs(_Body):
    mode: Literal["plain", "compatible", "safe"] | None = None
    format: Format | None = None
    deliver_twice_at_once: bool | None = None
    in_order: bool | None = None
    hold: Literal[True] | None = None


class Release(_Body):
    order: Literal["sent", "reversed"] = "sent"


class FaultOrder(_Body):
    endpoint: Literal["typing", "send", "token", "upload", "download"]
    kind: Literal["fail", "http", "drop", "slow", "hang"]
    errcode: Annotated[int, Field(ge=-1, le=10_000_000)] = -1
    status: Annotated[int, Field(ge=400, le=599)] = 500
    seconds: Annotated[float, Field(gt=0, le=3600)] = 3
    times: Annotated[int, Field(ge=1, le=1000)] | None = 1
    acted: bool = False

    def step(self) -> Fault:
        """The same in a transcript."""
        return Fault(**self.model_dump())


class ClockTurn(_Body):
    """By ``forward`` seconds, or ``to`` so many seconds after the last interaction of ``user``."""

    forward: float | None = None
    user: _Text = ""
    to: Literal[29, 31, 172800] | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.forward is None) == (self.to is None):
            raise ValueError('say either {"forward": seconds} or {"user": name, "to": 29, 31 or 172800}')
        return self


class AccountOrder(_Body):
    kind: AccountKind


class AgentDeed(_Body):
    agent: Annotated[str, Field(pattern=r"^[\w@.-]{1,64}$")]
    does: Literal["takes", "says", "closes"]
    user: _Written
    text: _Text = ""


class Nothing(_Body):
    """A body without anything to say."""


NEW_USER: TypeAdapter[NewUser] = TypeAdapter(NewUser)
DEED: TypeAdapter[UserAction] = TypeAdapter(Annotated[UserAction, Field(discriminator="deed")])
REDELIVERY: TypeAdapter[Redelivery] = TypeAdapter(Redelivery)
KNOBS: TypeAdapter[Knobs] = TypeAdapter(Knobs)
RELEASE: TypeAdapter[Release] = TypeAdapter(Release)
FAULT: TypeAdapter[FaultOrder] = TypeAdapter(FaultOrder)
CLOCK: TypeAdapter[ClockTurn] = TypeAdapter(ClockTurn)
ACCOUNT: TypeAdapter[AccountOrder] = TypeAdapter(AccountOrder)
AGENT: TypeAdapter[AgentDeed] = TypeAdapter(AgentDeed)
NOTHING: TypeAdapter[Nothing] = TypeAdapter(Nothing)
