"""Export a transcript as a pytest file, which tests the plugins that were played with.

The source is formatted with ruff if it is installed; without it the file is the same code, with longer lines.
"""

from __future__ import annotations

import base64
import dataclasses
import keyword
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wxbot.errors import WxbotError
from wxbot.playground import transcript as t
from wxbot.playground.replay.visible import TYPING

FORMAT_SECONDS = 10
_TAKEN = re.compile(r"base64|clock|dict|list|re|replies|str|test|time|wechat|wechat_for|push_\d+_of_.*")
"""Names in the file that a user's variable must not have."""
_INLINE_BYTES = 48


class NotExportable(WxbotError):
    """The transcript has a step that a test cannot repeat. The text names it."""


def as_pytest(transcript: t.Transcript, plugin_folders: str, plugins: str = "", name: str = "conversation") -> str:
    """Return the source of a pytest file that replays ``transcript`` with the plugins of these folders.

    ``plugin_folders`` and ``plugins`` are the settings of these names, separated by commas. Empty ``plugins`` means
    all. ``name``: the name of the test. Raises NotExportable.
    """
    return _formatted(_Source(transcript, plugin_folders, plugins, name).text())


# -- Python expressions


class _Code(str):
    """Source text, which is not quoted."""

    __slots__ = ()


def _call(function: str, *arguments: object, **named: object) -> _Code:
    parts = [*map(_literal, arguments), *(f"{name}={_literal(value)}" for name, value in named.items())]
    return _Code(f"{function}({', '.join(parts)})")


def _literal(value: object) -> str:
    if isinstance(value, _Code):
        return value
    if isinstance(value, t.Matches):
        return _call("Like", value.pattern)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{str(key)!r}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_literal, value))}]"
    is_whole = isinstance(value, float) and value == int(value) and abs(value) < 10**15
    return repr(int(value)) if isinstance(value, float) and is_whole else repr(value)


def _formatted(source: str) -> str:
    """Return ``source`` as ``ruff format`` formats it, or unchanged if ruff is not installed."""
    beside_python = Path(sys.executable).with_name("ruff")
    ruff = str(beside_python) if beside_python.exists() else shutil.which("ruff")
    if ruff is None:
        return source
    command = [ruff, "format", "--isolated", "--stdin-filename", "test_conversation.py", "-"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=True, timeout=FORMAT_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return source
    return done.stdout.decode()


# -- the file


class _Source:
    def __init__(self, transcript: t.Transcript, plugin_folders: str, plugins: str, name: str) -> None:
        self._transcript = transcript
        self._plugin_folders = plugin_folders
        self._plugins = plugins
        self._name = name
        self._files: list[bytes] = []
        self._lines: list[str] = []
        self._seen: dict[str, list[t.Thing]] = {}
        self._pushes: dict[str, int] = {}
        self._users = _identifiers(_names(transcript)) or {"user": "user"}
        self._redelivered = _redelivered_pushes(transcript.steps)
        self._awaited = _awaited_pushes(transcript.steps)
        self._final_checks = _last_checks(transcript.steps)

    def text(self) -> str:
        _check_exportable(self._transcript)
        for index, step in enumerate(self._transcript.steps):
            self._write(index, step)
        self._write_end()
        body = self._body()
        return "\n".join([*self._head(), *body]) + "\n"

    def _head(self) -> list[str]:
        title = _one_line(self._name)
        needed = {"base64": bool(self._files), "re": self._has_patterns, "time": self._waits}
        modules = [f"import {module}" for module, is_needed in needed.items() if is_needed]
        testing = ["LeapingClock"] if self._needs_clock else []
        testing += ["User"] if not self._transcript.typing else []
        return [
            _docstring(f"Replay a conversation recorded in the playground: {title}."),
            "",
            *([*modules, ""] if modules else []),
            f"from wxbot.testing import {', '.join([*testing, 'wechat_for'])}",
            "",
            *self._helpers(),
        ]

    def _helpers(self) -> list[str]:
        lines: list[str] = []
        if self._has_patterns:
            lines.append(_LIKE)
        if not self._transcript.typing:
            lines.append(_REPLIES)
        return lines

    def _body(self) -> list[str]:
        lines: list[str] = []
        for number, content in enumerate(self._files, 1):
            lines += ["", f'FILE_{number} = base64.b64decode("""', *_base64_lines(content), '""")']
        lines += ["", ""] if lines else [""]
        lines.append(f"def test_{_slug(self._name)}() -> None:")
        indent = "    "
        if self._needs_clock:
            lines.append(f"{indent}clock = LeapingClock()")
        lines.append(f"{indent}with {self._wechat()} as wechat:")
        lines += [f"{indent * 2}{variable} = {_call('wechat.user', name)}" for name, variable in self._users.items()]
        return lines + self._lines

    @property
    def _has_patterns(self) -> bool:
        return any(isinstance(thing, t.Matches) for thing in _things(self._transcript))

    @property
    def _needs_clock(self) -> bool:
        return any(isinstance(step, t.Forward) for step in self._transcript.steps)

    @property
    def _waits(self) -> bool:
        return any(isinstance(step, t.Waits) for step in self._transcript.steps)

    def _wechat(self) -> _Code:
        transcript = self._transcript
        choices: dict[str, object] = {}
        if self._needs_clock:
            choices["clock"] = _Code("clock")
        choices |= {"mode": transcript.mode, "format": transcript.format}
        if transcript.account_kind != "miniprogram":
            choices["account_kind"] = transcript.account_kind
        choices["plugin_folders"] = self._plugin_folders
        if self._plugins:
            choices["plugins"] = self._plugins
        return _call("wechat_for", **choices)

    # -- steps

    def _write(self, index: int, step: t.Step) -> None:
        if isinstance(step, t.Sees):
            self._write_check(index, step)
        elif isinstance(step, t.UserStep):
            self._write_push(index, step.user, _user_call(self, step, self._users[step.user]))
        elif isinstance(step, t.AgentStep):
            self._write_agent(index, step)
        elif isinstance(step, t.Redeliver):
            number = step.push or self._pushes.get(step.user, 0)
            self._add(_call(f"{self._push(step.user, number)}.redeliver"))
        else:
            self._add(_CONTROLS[type(step)](step))

    def _add(self, line: str) -> None:
        self._lines.append(f"        {line}")

    def _write_push(self, index: int, user: str, call: _Code) -> None:
        number = self._pushes[user] = self._pushes.get(user, 0) + 1
        is_awaited = index in self._awaited
        if (user, number) in self._redelivered:
            variable = self._push(user, number)
            self._add(f"{variable} = {call}")
            if is_awaited:
                self._add(_call(f"{variable}.wait"))
        else:
            self._add(f"{call}.wait()" if is_awaited else call)

    def _push(self, user: str, number: int) -> str:
        return f"push_{number}_of_{self._users[user]}"

    def _write_agent(self, index: int, step: t.AgentStep) -> None:
        agent = _call("wechat.agent", step.agent)
        if isinstance(step, t.Writes):
            self._add(_call(f"{agent}.says", self._user(step.user), step.text))
        elif isinstance(step, t.Takes):
            self._write_push(index, step.user, _call(f"{agent}.takes", self._user(step.user)))
        elif isinstance(step, t.Closes):
            more = [step.close_type] if step.close_type else []
            self._write_push(index, step.user, _call(f"{agent}.closes", self._user(step.user), *more))
        elif isinstance(step, t.HandsOver):
            other = _call("wechat.agent", step.other)
            self._write_push(index, step.user, _call(f"{agent}.hands_to", self._user(step.user), other))

    def _user(self, name: str) -> _Code:
        return _Code(self._users[name])

    def file(self, content: bytes) -> bytes | _Code:
        """Return the content of a file, or the name of a constant for a large one."""
        if len(content) <= _INLINE_BYTES:
            return content
        if content not in self._files:
            self._files.append(content)
        return _Code(f"FILE_{self._files.index(content) + 1}")

    # -- what users saw

    def _write_check(self, index: int, step: t.Sees) -> None:
        things = [thing for thing in step.things if self._transcript.typing or thing not in TYPING]
        if not things:
            return
        seen = self._seen.setdefault(step.user, [])
        before = len(seen)
        seen += things
        limit = {} if step.within is None else {"timeout": step.within}
        self._write_wait(step.user, seen, limit)
        if index not in self._final_checks:
            self._add(f"assert {self._saw(step.user)}[{before or ''}:{len(seen)}] == {_literal(things)}")

    def _saw(self, user: str) -> str:
        variable = self._users[user]
        return f"{variable}.saw" if self._transcript.typing else f"replies({variable})"

    def _write_wait(self, user: str, seen: Sequence[t.Thing], limit: Mapping[str, object]) -> None:
        """Write a wait for the last item. If a pattern makes the last item ambiguous, the items are counted."""
        last, waits = seen[-1], f"{self._users[user]}.waits_for"
        if any(isinstance(thing, t.Matches) for thing in seen):
            any_item = "lambda _: True" if self._transcript.typing else f"lambda saw: saw not in {_TYPING}"
            self._add(_call(waits, _Code(any_item), **limit, times=len(seen)))
        else:
            times = seen.count(last)
            self._add(_call(waits, last, **limit, **({"times": times} if times > 1 else {})))

    def _write_end(self) -> None:
        """Write the end: no user sees more, and the last items of each user are compared, which includes late ones."""
        self._add("wechat.waits_until_quiet()  # a reply too many would come now")
        lengths = {user: len(self._seen.get(user, [])) for user in self._users}
        for user in self._users:
            last = self._last_expected(user)
            start = lengths[user] - len(last)
            self._add(f"assert {self._saw(user)}{f'[{start}:]' if start else ''} == {_literal(last)}")

    def _last_expected(self, user: str) -> list[t.Thing]:
        for index in self._final_checks:
            step = self._transcript.steps[index]
            if isinstance(step, t.Sees) and step.user == user:
                return [thing for thing in step.things if self._transcript.typing or thing not in TYPING]
        return []


_TYPING = '("Typing", "CancelTyping")'
_LIKE = '''
class Like:
    """A value that equals every text in which the pattern is found."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(re.search(self.pattern, other))

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"Like({self.pattern!r})"
'''
_REPLIES = f'''
def replies(user: User) -> list[str]:
    """Return the messages that the user received."""
    return [saw for saw in user.saw if saw not in {_TYPING}]
'''


# -- analysis before writing


def _check_exportable(transcript: t.Transcript) -> None:
    modes = [transcript.mode, *(step.mode for step in transcript.steps if isinstance(step, t.SetMode))]
    if len({mode == "plain" for mode in modes}) > 1:
        raise NotExportable(
            "this transcript switches between plaintext and encrypted pushes, which restarts the bot, but a test has "
            "one bot: move the steps of each mode into a transcript of their own"
        )


def _names(transcript: t.Transcript) -> Iterator[str]:
    return filter(None, map(t.user_of, transcript.steps))


def _things(transcript: t.Transcript) -> Iterator[t.Thing]:
    for step in transcript.steps:
        if isinstance(step, t.Sees):
            yield from step.things


def _pushing(steps: Sequence[t.Step]) -> Iterator[tuple[int, str, int]]:
    """Yield each push of a user: the index of its step, the user, and its number among the user's pushes, from 1."""
    numbers: dict[str, int] = {}
    for index, step in enumerate(steps):
        is_action = isinstance(step, t.UserStep) and not isinstance(step, t.Sees)
        if is_action or isinstance(step, (t.Takes, t.Closes, t.HandsOver)):
            user = t.user_of(step)
            numbers[user] = numbers.get(user, 0) + 1
            yield index, user, numbers[user]


def _redelivered_pushes(steps: Sequence[t.Step]) -> set[tuple[str, int]]:
    """Return the pushes that are redelivered later."""
    counts: dict[str, int] = {}
    pushes = {index: (user, number) for index, user, number in _pushing(steps)}
    found: set[tuple[str, int]] = set()
    for index, step in enumerate(steps):
        if index in pushes:
            user, counts[user] = pushes[index][0], pushes[index][1]
        elif isinstance(step, t.Redeliver):
            number, count = step.push or counts.get(step.user, 0), counts.get(step.user, 0)
            if not 1 <= number <= count:
                raise NotExportable(f"cannot redeliver: {step.user} has {count} push(es) so far")
            found.add((step.user, number))
    return found


def _awaited_pushes(steps: Sequence[t.Step]) -> set[int]:
    """Return each user's last push before the clock or the mode changes, unless it is held, so that it is not lost."""
    pushes = {index: user for index, user, _ in _pushing(steps)}
    awaited: set[int] = set()
    latest: dict[str, int] = {}
    is_held = False
    for index, step in enumerate(steps):
        if index in pushes and not is_held:
            latest[pushes[index]] = index
        elif isinstance(step, (t.Hold, t.Release)):
            is_held = isinstance(step, t.Hold)
        elif isinstance(step, (t.Forward, t.SetMode, t.SetFormat)):
            awaited |= set(latest.values())
            latest.clear()
    return awaited | _unseen(steps, latest)


def _unseen(steps: Sequence[t.Step], latest: Mapping[str, int]) -> set[int]:
    """Return the last pushes after which their user saw nothing that a test could wait for."""
    checks = {step.user: index for index, step in enumerate(steps) if isinstance(step, t.Sees) and step.things}
    return {index for user, index in latest.items() if checks.get(user, -1) < index}


def _last_checks(steps: Sequence[t.Step]) -> set[int]:
    """Return the index of each user's last check."""
    return set({step.user: index for index, step in enumerate(steps) if isinstance(step, t.Sees)}.values())


# -- names


def _slug(text: str) -> str:
    words = re.sub(r"\W+", "_", text).strip("_")
    return words if f"a{words}".isidentifier() and words else "conversation"


def _identifiers(names: Iterator[str]) -> dict[str, str]:
    """Return a variable name for each user name, in the order of appearance."""
    variables: dict[str, str] = {}
    for name in names:
        if name not in variables:
            variables[name] = _free(_variable(name), set(variables.values()))
    return variables


def _variable(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    is_good = slug.isidentifier() and len(slug) > 1 and not keyword.iskeyword(slug) and not _TAKEN.fullmatch(slug)
    return slug if is_good else f"user_{slug}".rstrip("_")


def _free(wanted: str, taken: set[str]) -> str:
    number, variable = 1, wanted
    while variable in taken:
        number += 1
        variable = f"{wanted}_{number}"
    return variable


def _one_line(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())[:60] or "conversation"


def _docstring(text: str) -> str:
    escaped = text.replace("\\", "/").replace('"', "'")
    return f'"""{escaped}"""'


def _base64_lines(content: bytes) -> list[str]:
    encoded = base64.b64encode(content).decode()
    return [encoded[start : start + 76] for start in range(0, len(encoded), 76)]


# -- steps as calls


_METHODS: dict[type[t.Step], str] = {
    t.Says: "says",
    t.SendsPicture: "sends_image",
    t.SendsVoice: "sends_voice",
    t.SendsVideo: "sends_video",
    t.SendsShortVideo: "sends_short_video",
    t.SendsLocation: "sends_location",
    t.SendsLink: "sends_link",
    t.SendsCard: "sends_mini_program_page",
    t.ClicksMenuItem: "clicks_menu_item",
    t.Enters: "enters",
    t.Follows: "follows",
    t.Leaves: "leaves",
    t.Scans: "scans",
    t.Clicks: "clicks",
    t.Views: "views",
}
"""The method of a user for each step. Its parameters have the names of the step's fields."""


def _user_call(source: _Source, step: t.UserStep, user: str) -> _Code:
    if isinstance(step, t.Does):
        return _event(user, step)
    if isinstance(step, t.Sends):
        return _call("wechat.act", _Code(user), step.msg_type, step.fields)
    given: dict[str, object] = {}
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        is_needed = value != field.default or isinstance(step, t.SendsLink)  # sends_link has other defaults
        if field.name not in ("user", "line") and is_needed:
            given[field.name] = source.file(value) if isinstance(value, bytes) else value
    first = next(iter(given), "")
    arguments = [given.pop(first)] if first and first == dataclasses.fields(step)[2].name else []
    return _call(f"{user}.{_METHODS[type(step)]}", *arguments, **given)


def _event(user: str, step: t.Does) -> _Code:
    if all(name.isidentifier() and not keyword.iskeyword(name) and name not in _OWN for name in step.fields):
        return _call(f"{user}.does", step.event, **step.fields)
    return _call("wechat.act", _Code(user), "event", {"Event": step.event, **step.fields})


_OWN = {"self", "event", "msg_type", "Event"}


def _fault(step: t.Fault) -> _Code:
    method = {"http": "http_error"}.get(step.kind, step.kind)
    details: dict[t.FaultKind, dict[str, object]] = {
        "fail": {"errcode": step.errcode},
        "http": {"status": step.status},
        "slow": {"seconds": step.seconds},
    }
    acted = {"acted": True} if step.acted and step.kind in ("http", "drop", "hang") else {}
    return _call(f"wechat.faults.{method}", step.endpoint, **details.get(step.kind, {}), times=step.times, **acted)


_CONTROLS: dict[type[t.Step], Callable[[Any], str]] = {
    t.Waits: lambda step: _call("time.sleep", step.seconds),
    t.Forward: lambda step: _call("clock.advance", step.seconds),
    t.Fault: _fault,
    t.ClearFaults: lambda step: "wechat.faults.clear()",
    t.RevokeToken: lambda step: "wechat.faults.revoke_token()",
    t.SetMode: lambda step: f"wechat.mode = {step.mode!r}",
    t.SetFormat: lambda step: f"wechat.format = {step.format!r}",
    t.DeliverTwiceAtOnce: lambda step: f"wechat.deliver_twice_at_once = {step.on}",
    t.InOrder: lambda step: f"wechat.in_order = {step.on}",
    t.Hold: lambda step: "wechat.hold()",
    t.Release: lambda step: _call("wechat.release", *(["reversed"] if step.order == "reversed" else [])),
}
