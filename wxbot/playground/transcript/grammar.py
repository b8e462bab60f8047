"""The grammar of transcripts: the steps, their YAML form, and the account kinds at which they are possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import get_args

from wxbot.playground.transcript.steps import (
    ClearFaults,
    Clicks,
    ClicksMenuItem,
    Closes,
    DeliverTwiceAtOnce,
    Does,
    Enters,
    Fault,
    FaultKind,
    Follows,
    Forward,
    HandsOver,
    Hold,
    InOrder,
    Leaves,
    Redeliver,
    Release,
    ReleaseOrder,
    RevokeToken,
    Says,
    Scans,
    Sees,
    Sends,
    SendsCard,
    SendsLink,
    SendsLocation,
    SendsPicture,
    SendsShortVideo,
    SendsVideo,
    SendsVoice,
    SetFormat,
    SetMode,
    Step,
    Takes,
    Views,
    Waits,
    Writes,
)
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
    choice,
)
from wxbot.testing.faults import Endpoint
from wxbot.testing.rules import AccountKind


@dataclass(frozen=True)
class Form:
    """The YAML form of a step: the field that the value of the head is stored in, and the details by their keys."""

    step: type[Step]
    main: tuple[str, Kind] | None = None
    details: Mapping[str, tuple[str, Kind]] = field(default_factory=dict)

    def is_needed(self, name: str) -> bool:
        """Return True if this field is required."""
        return self.default_of(name) is MISSING

    def default_of(self, name: str) -> object:
        """Return the default of the field, or MISSING if the field is required."""
        for each in fields(self.step):
            if each.name == name:
                return each.default if each.default_factory is MISSING else each.default_factory()
        raise KeyError(name)


VERBS: dict[str, Form] = {
    "says": Form(Says, ("text", TEXT)),
    "sees": Form(Sees, ("things", SEEN), {"within": ("within", SECONDS)}),
    "sends picture": Form(SendsPicture, ("content", BYTES)),
    "sends voice": Form(SendsVoice, ("content", BYTES), {"sound": ("format", TEXT)}),
    "sends video": Form(SendsVideo, ("content", BYTES)),
    "sends short video": Form(SendsShortVideo, ("content", BYTES)),
    "sends location": Form(
        SendsLocation,
        ("label", OPTIONAL),
        {"latitude": ("latitude", DEGREES), "longitude": ("longitude", DEGREES), "scale": ("scale", INT)},
    ),
    "sends link": Form(SendsLink, ("title", TEXT), {"description": ("description", TEXT), "url": ("url", TEXT)}),
    "sends card": Form(SendsCard, ("title", TEXT), {"page": ("page_path", TEXT), "appid": ("appid", TEXT)}),
    "clicks menu item": Form(ClicksMenuItem, ("label", TEXT)),
    "enters": Form(Enters, ("session_from", OPTIONAL)),
    "follows": Form(Follows, ("scene", OPTIONAL), {"ticket": ("ticket", TEXT)}),
    "leaves": Form(Leaves),
    "scans": Form(Scans, ("scene", TEXT), {"ticket": ("ticket", TEXT)}),
    "clicks": Form(Clicks, ("key", TEXT)),
    "views": Form(Views, ("url", TEXT), {"menu": ("menu_id", TEXT)}),
    "does": Form(Does, ("event", TEXT), {"fields": ("fields", FIELDS)}),
    "sends": Form(Sends, ("msg_type", TEXT), {"fields": ("fields", FIELDS)}),
    "takes": Form(Takes, ("user", NAME)),
    "writes": Form(Writes, ("text", TEXT), {"to": ("user", NAME)}),
    "closes": Form(Closes, ("user", NAME), {"close_type": ("close_type", TEXT)}),
    "hands over": Form(HandsOver, ("user", NAME), {"to": ("other", NAME)}),
}
"""The steps of users and agents, by the words after the name."""

CONTROLS: dict[str, Form] = {
    "waits": Form(Waits, ("seconds", SECONDS)),
    "forward": Form(Forward, ("seconds", SECONDS)),
    "redeliver": Form(Redeliver, ("user", NAME), {"push": ("push", COUNT)}),
    "fault": Form(
        Fault,
        ("endpoint", choice(get_args(Endpoint))),
        {
            "kind": ("kind", choice(get_args(FaultKind))),
            "errcode": ("errcode", INT),
            "status": ("status", STATUS),
            "seconds": ("seconds", SECONDS),
            "times": ("times", TIMES),
            "acted": ("acted", FLAG),
        },
    ),
    "clear faults": Form(ClearFaults),
    "revoke token": Form(RevokeToken),
    "mode": Form(SetMode, ("mode", MODE)),
    "format": Form(SetFormat, ("format", FORMAT)),
    "deliver twice at once": Form(DeliverTwiceAtOnce, ("on", FLAG)),
    "in order": Form(InOrder, ("on", FLAG)),
    "hold": Form(Hold),
    "release": Form(Release, ("order", choice(get_args(ReleaseOrder)))),
}
"""The steps that control the platform. They have no name in front."""

WORDS = {form.step: (words, form) for words, form in {**VERBS, **CONTROLS}.items()}
"""The head words and the form of each class of steps."""

TOP = ("wxbot-transcript", "account", "mode", "format", "typing", "steps")
"""The top-level keys of a file."""

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


def fits(step: Step, account_kind: AccountKind) -> bool:
    """Return True if this step is possible at an account of this kind."""
    if account_kind == "miniprogram":
        return not isinstance(step, _OFFICIAL_ONLY)
    return not isinstance(step, _MINI_PROGRAM_ONLY) and step != SetFormat("json")


def find(head: str) -> tuple[Form, str] | None:
    """Return the form of a head, and the name in it ("" for a control step). Return None for an unknown head."""
    if head in CONTROLS:
        return CONTROLS[head], ""
    for verb, form in VERBS.items():
        if head.endswith(" " + verb):
            return form, head.removesuffix(" " + verb)
    return None
