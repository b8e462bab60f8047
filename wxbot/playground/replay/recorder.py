"""Record a session of the playground as a transcript, which wxbot/playground/replay/player.py replays."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wxbot.playground import transcript as t
from wxbot.playground.replay.visible import TYPING
from wxbot.testing import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE, FakeWeChat, Push, Record
from wxbot.testing.sent import menu_items

QUICK = 5.0
"""A reply within this many real seconds needs no ``within`` in the transcript."""
SLOW = 60.0
"""Real seconds that a replay waits for a reply. After a reply slower than QUICK: three times as long."""
SHORTEST_PAUSE = 1.0
"""Shorter pauses (real seconds) are not recorded, because they are only the user's clicking speed."""
LONGEST_PAUSE = 10.0
"""Longer pauses (real seconds) are cut to this length."""

_HEAD = {"ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId"}
_FILE = re.compile(r"\[(\w+) ([A-Za-z0-9_-]{64})\]")

Fields = Mapping[str, Any]


@dataclass(slots=True)
class _Seen:
    """The items that one user saw since the last step."""

    things: list[t.Thing] = field(default_factory=list)
    last_at: float = 0.0


@dataclass(slots=True)
class _Work:
    """The visible work of the bot for one user: it owes a reply, or Typing is showing."""

    owed: int = 0
    is_typing: bool = False

    def see(self, what: str) -> None:
        self.is_typing = what == "Typing"
        if what not in TYPING:
            self.owed = max(0, self.owed - 1)

    @property
    def is_open(self) -> bool:
        return self.owed > 0 or self.is_typing


class Recorder:
    """A recorder of ``wechat``: it records user actions, agents, and what each user sees.

    Create it together with the session, before anything happens. Control steps leave no record at the platform, so they
    must be passed to ``note``. Raises ValueError in cloud mode, for which there are no transcripts.
    """

    def __init__(self, wechat: FakeWeChat) -> None:
        if wechat.mode == "cloud":
            raise ValueError("cloud mode cannot be recorded: there are no transcripts of pushes into a container")
        self._wechat = wechat
        self._steps: list[t.Step] = []
        self._seen: dict[str, _Seen] = {}
        self._seen_counts: dict[str, int] = {}
        self._agents: dict[str, str] = {}
        self._pushes: dict[str, list[Fields]] = {}
        self._work: defaultdict[str, _Work] = defaultdict(_Work)
        self._last_step_at = time.monotonic()
        with wechat.record_log.changed:
            self._beginning = (wechat.platform.account.kind, wechat.mode, wechat.format)
            self._end = wechat.on_record(self._on_record)

    def close(self) -> None:
        """Stop recording. The recorded steps stay."""
        with self._wechat.record_log.changed:
            self._end()
            self._end = lambda: None

    def note(self, step: t.Step) -> None:
        """Record a control step. Call it just before the step is applied, so that its effects are recorded after it.

        Steps of users and agents are ignored, because they are recorded by themselves.
        """
        if isinstance(step, (t.UserStep, t.AgentStep)):
            return
        with self._wechat.record_log.changed:
            self._add(step)

    def note_redelivery(self, push: Push) -> None:
        """Record a redelivery of ``push``. Call it just before ``push.redeliver()``."""
        with self._wechat.record_log.changed:
            name = self._wechat.platform.names.get(push.openid, "")
            pushes = self._pushes.get(push.openid, [])
            # Two equal events within one second have the same fields. It does not matter which of them is redelivered.
            found = [number for number, fields in enumerate(pushes, 1) if fields == push.fields]
            if name and found:
                self._add(t.Redeliver(name, None if found[-1] == len(pushes) else found[-1]))

    def transcript(self) -> t.Transcript:
        """Return the transcript of the session so far."""
        with self._wechat.record_log.changed:
            kind, mode, form = self._beginning
            return t.Transcript(kind, mode, form, (*self._steps, *self._seen_steps()))

    # -- called under the platform's lock; these never raise

    def _on_record(self, record: Record) -> None:
        if not record.openid or not record.name:
            return
        if record.kind == "user":
            self._add(self._action(record))
            self._work[record.name].owed += 1
            self._pushes.setdefault(record.openid, []).append(dict(record.body))
        elif record.kind == "agent":
            self._on_agent_record(record)
        self._record_seen(record)

    def _on_agent_record(self, record: Record) -> None:
        if record.body:  # an agent-session event
            self._pushes.setdefault(record.openid, []).append(dict(record.body))
        step = self._agent_step(record)
        if step is not None:
            self._add(step)

    def _agent_step(self, record: Record) -> t.Step | None:
        account, event = str(record.body.get("KfAccount", "")), record.body.get("Event")
        if not record.body:
            return t.Writes(self._agents.get(record.openid, ""), record.what, record.name)
        if event == "kf_create_session":
            self._agents[record.openid] = account
            return t.Takes(account, record.name)
        if event == "kf_close_session":
            return t.Closes(account, record.name, str(record.body.get("CloseType", "")))
        if event == "kf_switch_session":
            self._agents[record.openid] = str(record.body["ToKfAccount"])
            return t.HandsOver(str(record.body["FromKfAccount"]), record.name, self._agents[record.openid])
        return None

    def _add(self, step: t.Step) -> None:
        self._steps += self._seen_steps()
        self._steps += self._pause()
        self._steps.append(step)
        self._seen.clear()
        self._last_step_at = time.monotonic()

    def _pause(self) -> list[t.Step]:
        """Return the pause before this step, if the bot was processing in it without visible results."""
        last_at = max([self._last_step_at, *(seen.last_at for seen in self._seen.values())])
        paused = time.monotonic() - last_at
        if paused < SHORTEST_PAUSE or not any(work.is_open for work in self._work.values()):
            return []
        for work in self._work.values():
            work.owed = 0
        return [t.Waits(round(min(paused, LONGEST_PAUSE), 1))]

    def _record_seen(self, record: Record) -> None:
        """Record the items that the user saw by this record, as FakeWeChat lists them."""
        saw = self._wechat.record_log.of_user(record.openid).saw
        new = saw[self._seen_counts.get(record.openid, 0) :]
        self._seen_counts[record.openid] = len(saw)
        if new:
            seen = self._seen.setdefault(record.name, _Seen())
            seen.things += [_thing(what, record.body) for what in new]
            for what in new:
                self._work[record.name].see(what)
            seen.last_at = time.monotonic()

    def _seen_steps(self) -> list[t.Step]:
        return [t.Sees(name, tuple(seen.things), self._within(seen)) for name, seen in self._seen.items()]

    def _within(self, seen: _Seen) -> float | None:
        took = seen.last_at - self._last_step_at
        return None if took <= QUICK or 3 * took <= SLOW else float(math.ceil(3 * took))

    def _action(self, record: Record) -> t.Step:
        body = record.body
        fields = {name: value for name, value in body.items() if name not in _HEAD}
        msg_type = str(body.get("MsgType", ""))
        if msg_type == "event":
            event = str(fields.pop("Event", ""))
            make = _EVENTS.get(event)
            step = make(record.name, fields) if make else None
            general: t.Step = t.Does(record.name, event, _plain(fields))
        else:
            step = self._message(msg_type, record, fields)
            general = t.Sends(record.name, msg_type, _plain(fields))
        # Any event can be sent to any account, but not every event has a step of its own there.
        return step if step is not None and t.fits(step, self._beginning[0]) else general

    def _message(self, msg_type: str, record: Record, fields: Fields) -> t.Step | None:
        name, keys = record.name, set(fields)
        if keys == {"Content", "bizmsgmenuid"} and self._was_offered(record.openid, fields):
            return t.ClicksMenuItem(name, str(fields["Content"]))
        if msg_type == "miniprogrampage" and keys == _CARD:
            own = fields["AppId"] == self._wechat.appid
            return t.SendsCard(name, str(fields["Title"]), str(fields["PagePath"]), "" if own else str(fields["AppId"]))
        if msg_type in _FILES and keys == _FILES[msg_type].keys:
            return self._file(_FILES[msg_type], name, fields)
        make = _MESSAGES.get(msg_type)
        return make(name, fields) if make else None

    def _was_offered(self, openid: str, fields: Fields) -> bool:
        """Return True if the latest menu with this item gives it this id, which is what a click sends."""
        for body in reversed(self._wechat.record_log.of_user(openid).received):
            items = menu_items(body)
            if fields["Content"] in items:
                return bool(items[fields["Content"]] == fields["bizmsgmenuid"])
        return False

    def _file(self, files: _Files, name: str, fields: Fields) -> t.Step | None:
        stored = self._wechat.platform.media.get(fields["MediaId"])
        if stored is None or not stored.content:
            return None
        is_default = stored.content == files.default
        content = None if is_default else stored.content
        return files.make(name, content, fields)


@dataclass(frozen=True, slots=True)
class _Files:
    """A kind of message with a file: its fields, its sample content, and its step."""

    keys: set[str]
    default: bytes
    make: Callable[[str, bytes | None, Fields], t.Step]


_CARD = {"Title", "AppId", "PagePath", "ThumbUrl", "ThumbMediaId"}
_FILES = {
    "image": _Files({"PicUrl", "MediaId"}, SAMPLE_IMAGE, lambda name, content, _: t.SendsPicture(name, content)),
    "voice": _Files(
        {"MediaId", "Format", "MediaId16K"},
        SAMPLE_VOICE,
        lambda name, content, fields: t.SendsVoice(name, content, str(fields["Format"])),
    ),
    "video": _Files({"MediaId", "ThumbMediaId"}, SAMPLE_VIDEO, lambda name, content, _: t.SendsVideo(name, content)),
    "shortvideo": _Files(
        {"MediaId", "ThumbMediaId"}, SAMPLE_VIDEO, lambda name, content, _: t.SendsShortVideo(name, content)
    ),
}


def _thing(what: str, body: Fields) -> t.Thing:
    """Return the item, with a pattern in place of a media_id, because the media_id differs each time."""
    found = _FILE.fullmatch(what)
    is_text = "text" in (body.get("msgtype"), body.get("MsgType"))
    return t.Matches(rf"^\[{found[1]} [A-Za-z0-9_-]{{64}}\]$") if found and body and not is_text else what


def _says(name: str, fields: Fields) -> t.Step | None:
    return t.Says(name, str(fields["Content"])) if set(fields) == {"Content"} else None


def _location(name: str, fields: Fields) -> t.Step | None:
    if set(fields) != {"Location_X", "Location_Y", "Scale", "Label"}:
        return None
    coordinates, scale = (fields["Location_X"], fields["Location_Y"]), fields["Scale"]
    if not all(_is_number(each) for each in (*coordinates, scale)):
        return None
    return t.SendsLocation(name, float(coordinates[0]), float(coordinates[1]), str(fields["Label"]), int(scale))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _link(name: str, fields: Fields) -> t.Step | None:
    if set(fields) != {"Title", "Description", "Url"}:
        return None
    return t.SendsLink(name, *(str(fields[key]) for key in ("Title", "Description", "Url")))


def _enters(name: str, fields: Fields) -> t.Step | None:
    return t.Enters(name, str(fields["SessionFrom"])) if set(fields) == {"SessionFrom"} else None


def _follows(name: str, fields: Fields) -> t.Step | None:
    if fields == {"EventKey": ""}:
        return t.Follows(name)
    key = str(fields.get("EventKey", ""))
    if set(fields) != {"EventKey", "Ticket"} or not key.startswith("qrscene_") or key == "qrscene_":
        return None
    return t.Follows(name, key.removeprefix("qrscene_"), str(fields["Ticket"]))


def _leaves(name: str, fields: Fields) -> t.Step | None:
    return t.Leaves(name) if fields == {"EventKey": ""} else None


def _scans(name: str, fields: Fields) -> t.Step | None:
    if set(fields) != {"EventKey", "Ticket"}:
        return None
    return t.Scans(name, str(fields["EventKey"]), str(fields["Ticket"]))


def _clicks(name: str, fields: Fields) -> t.Step | None:
    return t.Clicks(name, str(fields["EventKey"])) if set(fields) == {"EventKey"} else None


def _views(name: str, fields: Fields) -> t.Step | None:
    if set(fields) != {"EventKey", "MenuId"}:
        return None
    return t.Views(name, str(fields["EventKey"]), str(fields["MenuId"]))


_EVENTS: dict[str, Callable[[str, Fields], t.Step | None]] = {
    "user_enter_tempsession": _enters,
    "subscribe": _follows,
    "unsubscribe": _leaves,
    "SCAN": _scans,
    "CLICK": _clicks,
    "VIEW": _views,
}
_MESSAGES: dict[str, Callable[[str, Fields], t.Step | None]] = {
    "text": _says,
    "location": _location,
    "link": _link,
}


def _plain(value: Any) -> Any:
    """Return ``value`` converted to types that a transcript can contain."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, bool, int)) or _is_number(value):
        return value
    return str(value)
