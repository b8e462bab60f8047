"""Writes down what happens in a world of the simulator, to be played again (wxbot/playground/replay/player.py)."""

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
"""Real seconds in which an answer comes that needs no word about it in the transcript."""
SLOW = 60.0
"""Real seconds a replay has for an answer; for one that took longer than QUICK thrice as long as it took, if more."""
SHORTEST_PAUSE = 1.0
"""Real seconds; a shorter pause is how fast somebody clicks."""
LONGEST_PAUSE = 10.0
"""Real seconds; who waits longer than that thinks of something else."""

_HEAD = {"ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId"}
_FILE = re.compile(r"\[(\w+) ([A-Za-z0-9_-]{64})\]")

Fields = Mapping[str, Any]


@dataclass(slots=True)
class _Seen:
    """What one user saw since the last step."""

    things: list[t.Thing] = field(default_factory=list)
    last_at: float = 0.0


@dataclass(slots=True)
class _Work:
    """Whether the bot is at work for one user, as far as can be seen: it owes them an answer, or shows Typing."""

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
    """Listens to ``wechat`` from now on: the deeds, the agents, and what each user saw.

    Begin with a world, before anything happens in it. What is ordered of the platform leaves no record there: tell it
    by ``note``. Raises ValueError in cloud mode, for which there are no transcripts.
    """

    def __init__(self, wechat: FakeWeChat) -> None:
        if wechat.mode == "cloud":
            raise ValueError("there are no transcripts of pushes into a container")
        self._wechat = wechat
        self._steps: list[t.Step] = []
        self._seen: dict[str, _Seen] = {}
        self._read: dict[str, int] = {}
        self._agents: dict[str, str] = {}
        self._pushes: dict[str, list[Fields]] = {}
        self._work: defaultdict[str, _Work] = defaultdict(_Work)
        self._last_step_at = time.monotonic()
        with wechat.record_log.changed:
            self._beginning = (wechat.platform.account.kind, wechat.mode, wechat.format)
            self._end = wechat.on_record(self._hear)

    def close(self) -> None:
        """Listen no longer; what was recorded stays."""
        with self._wechat.record_log.changed:
            self._end()
            self._end = lambda: None

    def note(self, step: t.Step) -> None:
        """Something was ordered of the platform. Call it just before you do it: what users see of it comes after.

        What users and agents do and see is recorded without being told: nothing happens for such a step.
        """
        if isinstance(step, (t.UserStep, t.AgentStep)):
            return
        with self._wechat.record_log.changed:
            self._add(step)

    def note_redelivery(self, push: Push) -> None:
        """This push is delivered once more. Call it just before ``push.redeliver()``."""
        with self._wechat.record_log.changed:
            name = self._wechat.platform.names.get(push.openid, "")
            pushes = self._pushes.get(push.openid, [])
            # The same fields twice: two equal events of one second. Which of them it is makes no difference.
            found = [number for number, fields in enumerate(pushes, 1) if fields == push.fields]
            if name and found:
                self._add(t.Redeliver(name, None if found[-1] == len(pushes) else found[-1]))

    def transcript(self) -> t.Transcript:
        """What happened so far."""
        with self._wechat.record_log.changed:
            kind, mode, form = self._beginning
            return t.Transcript(kind, mode, form, (*self._steps, *self._sights()))

    # -- under the platform's lock, and never raising

    def _hear(self, record: Record) -> None:
        if not record.openid or not record.name:
            return
        if record.kind == "user":
            self._add(self._deed(record))
            self._work[record.name].owed += 1
            self._pushes.setdefault(record.openid, []).append(dict(record.body))
        elif record.kind == "agent":
            self._hear_agent(record)
        self._look(record)

    def _hear_agent(self, record: Record) -> None:
        if record.body:  # the report of an event
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
        self._steps += self._sights()
        self._steps += self._pause()
        self._steps.append(step)
        self._seen.clear()
        self._last_step_at = time.monotonic()

    def _pause(self) -> list[t.Step]:
        """The pause before this step, if the bot was at work in it: what it did then nobody saw."""
        last_at = max([self._last_step_at, *(seen.last_at for seen in self._seen.values())])
        paused = time.monotonic() - last_at
        if paused < SHORTEST_PAUSE or not any(work.is_open for work in self._work.values()):
            return []
        for work in self._work.values():
            work.owed = 0
        return [t.Waits(round(min(paused, LONGEST_PAUSE), 1))]

    def _look(self, record: Record) -> None:
        """What the user saw by this record, as FakeWeChat itself has it in the user's diary."""
        saw = self._wechat.record_log.of_user(record.openid).saw
        new = saw[self._read.get(record.openid, 0) :]
        self._read[record.openid] = len(saw)
        if new:
            seen = self._seen.setdefault(record.name, _Seen())
            seen.things += [_thing(what, record.body) for what in new]
            for what in new:
                self._work[record.name].see(what)
            seen.last_at = time.monotonic()

    def _sights(self) -> list[t.Step]:
        return [t.Sees(name, tuple(seen.things), self._within(seen)) for name, seen in self._seen.items()]

    def _within(self, seen: _Seen) -> float | None:
        took = seen.last_at - self._last_step_at
        return None if took <= QUICK or 3 * took <= SLOW else float(math.ceil(3 * took))

    def _deed(self, record: Record) -> t.Step:
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
        # Any event can be sent to any account, but not every deed has its name there.
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
        """Whether the latest menu with this item has it under this id: that is what a click sends."""
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
    """A kind of message with a file: its fields, the file it has unless told otherwise, and its step."""

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
    """What was seen; a media_id in it is another one each time, so only its shape can be told."""
    found = _FILE.fullmatch(what)
    is_text = "text" in (body.get("msgtype"), body.get("MsgType"))
    return t.Matches(rf"^\[{found[1]} [A-Za-z0-9_-]{{64}}\]$") if found and body and not is_text else what


def _says(name: str, fields: Fields) -> t.Step | None:
    return t.Says(name, str(fields["Content"])) if set(fields) == {"Content"} else None


def _location(name: str, fields: Fields) -> t.Step | None:
    if set(fields) != {"Location_X", "Location_Y", "Scale", "Label"}:
        return None
    place, scale = (fields["Location_X"], fields["Location_Y"]), fields["Scale"]
    if not all(_is_number(each) for each in (*place, scale)):
        return None
    return t.SendsLocation(name, float(place[0]), float(place[1]), str(fields["Label"]), int(scale))


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
    """``value`` in what a transcript can hold."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, bool, int)) or _is_number(value):
        return value
    return str(value)
