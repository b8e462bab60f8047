"""The request bodies of the page: user actions and control settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from wxbot.errors import WxbotError
from wxbot.playground.transcript import Fault
from wxbot.testing import Push, User
from wxbot.testing.envelope import Format
from wxbot.testing.rules import AccountKind

Body = TypeVar("Body", bound=BaseModel)

MAX_TEXT = 20_000
"""Maximum number of characters of a text from the page."""
MAX_FIELDS = 50

_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Written = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class BadRequest(WxbotError):
    """The body of a request is invalid. The text names the field and the reason."""


def parse(kind: type[Body], body: bytes) -> Body:
    """Return the parsed body. Raises BadRequest."""
    try:
        return kind.model_validate_json(body)
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

_METHODS = {
    "card": "sends_mini_program_page",
    "link": "sends_link",
    "location": "sends_location",
    "video": "sends_video",
    "voice": "sends_voice",
}
"""The method of User for an action, if its name differs. The other fields of the body are its arguments."""


class _UserAction(_Body):
    action: str

    def by(self, user: User) -> Push:
        """Perform the action. Raises ValueError or AssertionError if the user cannot do this."""
        method = getattr(user, _METHODS.get(self.action, self.action))
        push: Push = method(**self.model_dump(exclude={"action"}))
        return push


class WithoutFields(_UserAction):
    action: Literal["leaves", "video", "voice"]


class Says(_UserAction):
    action: Literal["says"]
    text: _Written


class Enters(_UserAction):
    action: Literal["enters"]
    session_from: _Text = ""


class SendsCard(_UserAction):
    action: Literal["card"]
    title: _Written = "A page"
    page_path: _Written = "pages/index"


class ClicksMenuItem(_UserAction):
    action: Literal["clicks_menu_item"]
    label: _Written


class Follows(_UserAction):
    action: Literal["follows"]
    scene: _Text = ""


class Scans(_UserAction):
    action: Literal["scans"]
    scene: _Written


class Clicks(_UserAction):
    action: Literal["clicks"]
    key: _Written


class Views(_UserAction):
    action: Literal["views"]
    url: _Written


class SendsLocation(_UserAction):
    action: Literal["location"]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    label: _Text = ""


class SendsLink(_UserAction):
    action: Literal["link"]
    title: _Written = "A page"
    description: _Text = ""
    url: _Written = "http://127.0.0.1/page"


class DoesEvent(_UserAction):
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


class UserAction(
    RootModel[
        Annotated[
            WithoutFields
            | Says
            | Enters
            | SendsCard
            | ClicksMenuItem
            | Follows
            | Scans
            | Clicks
            | Views
            | SendsLocation
            | SendsLink
            | DoesEvent,
            Field(discriminator="action"),
        ]
    ]
):
    """Any of the actions above, which its field ``action`` names."""


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
