"""Parse WeChat's pushes, XML and JSON, and check the fields that all other code relies on.

The format is detected from the first byte of the body, because WeChat has pushed JSON labelled ``text/xml``
(docs/wechat.md, section "Message push"). Every bad input raises InvalidPush and nothing else. This module does no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NoReturn
from xml.parsers import expat

from wxbot.errors import InvalidPush

Format = Literal["xml", "json"]

MAX_DEPTH = 16
"""Maximum depth of nesting. WeChat's deepest push has four levels (SendPicsInfo)."""

MAX_ELEMENTS = 1000
"""Maximum number of XML elements. Parsing must be cheap, because it happens before the signature is checked."""

MAX_JSON_MARKS = 20_000
"""Maximum number of ``{``, ``[`` and ``:`` in a JSON body, for the same reason. A text has at most a few thousand."""

MAX_ID_CHARS = 128
"""Maximum number of characters of an openid, MsgType or Event, and of digits of a MsgId."""

_BOM = b"\xef\xbb\xbf"
_NAMES_USED_ONCE = frozenset(
    ("ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId", "Event", "EventKey", "SessionFrom", "Encrypt")
)
"""The fields that a JSON body may have only once, because wxbot uses their values."""

NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot express, not even with an escape."""

_LATEST_CREATE_TIME = 2**32


def format_of(body: bytes) -> Format:
    """Return the format of ``body``, detected from its first byte that is not blank. Raises InvalidPush."""
    first = body.removeprefix(_BOM).lstrip()[:1]
    if first == b"<":
        return "xml"
    if first in (b"{", b"["):
        return "json"
    raise InvalidPush("the body is neither XML nor JSON" if first else "the body is empty")


def fields_of(body: bytes) -> dict[str, Any]:
    """Return the fields of a push by WeChat's own names.

    In XML, text stays exactly as written, nested elements become dicts and repeated ones lists. In JSON, numbers stay
    numbers. Raises InvalidPush if the body cannot be read, or has values that cannot be stored.
    """
    form = format_of(body)
    text = _text_of(body.removeprefix(_BOM))
    return _xml_fields(text) if form == "xml" else _json_fields(text)


def check_message(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``fields`` in which the fields that wxbot relies on have the right types. Raises InvalidPush.

    FromUserName, MsgType (and Event of an event) are non-empty texts, ToUserName is a text, CreateTime is an int, and
    MsgId, if there is one, is a non-empty text or an int. An unknown MsgType is allowed.
    """
    checked = dict(fields)
    checked["FromUserName"] = _identifier(fields, "FromUserName")
    checked["ToUserName"] = _identifier(fields, "ToUserName") if fields.get("ToUserName") else ""
    checked["CreateTime"] = _create_time(fields.get("CreateTime"))
    checked["MsgType"] = _identifier(fields, "MsgType")
    if checked["MsgType"].lower() == "event":
        checked["Event"] = _identifier(fields, "Event")
    if _has_no_msg_id(fields):
        checked.pop("MsgId", None)
    return checked


def _text_of(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise InvalidPush("the body is not UTF-8")


# --- checks of single fields ---


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidPush(f"{name} is missing or is not a single non-empty text")
    if len(value) > MAX_ID_CHARS or not value.isprintable():
        raise InvalidPush(f"{name} is longer than {MAX_ID_CHARS} characters or has control characters")
    return value


def _create_time(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,12}\s*", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _LATEST_CREATE_TIME:
        raise InvalidPush("CreateTime is missing or is not a time in seconds")
    return value


def _has_no_msg_id(fields: Mapping[str, Any]) -> bool:
    value = fields.get("MsgId")
    if value is None or value == "":
        return True
    if isinstance(value, bool) or not isinstance(value, int):
        _identifier(fields, "MsgId")
    elif not 0 <= value < 10**MAX_ID_CHARS:
        raise InvalidPush(f"MsgId is negative or has more than {MAX_ID_CHARS} digits")
    return False


# --- JSON ---


def _json_fields(text: str) -> dict[str, Any]:
    problem = "the body is not valid JSON"
    if sum(map(text.count, "{[:")) > MAX_JSON_MARKS:
        raise InvalidPush("the JSON has too many objects, arrays and fields")
    try:
        fields = _JSON.decode(text.strip())
        # An escape can express a lone surrogate. Such text cannot be stored or sent as UTF-8.
        if "\\u" in text:
            json.dumps(fields, ensure_ascii=False).encode()
        if isinstance(fields, dict):
            _check_depth(fields, 1)
            return fields
        problem = "the body is JSON, but not an object"
    except RecursionError:
        problem = "the JSON is nested too deeply"
    except UnicodeEncodeError:
        problem = "the JSON has a lone surrogate, which UTF-8 cannot express"
    except ValueError:
        pass  # JSONDecodeError, or a number with thousands of digits
    raise InvalidPush(problem)


def _check_depth(value: dict[str, Any] | list[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidPush("the JSON is nested too deeply")
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (dict, list)):
            _check_depth(child, depth + 1)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        for name in _NAMES_USED_ONCE.intersection(names):
            if names.count(name) > 1:
                raise InvalidPush(f"{name} appears more than once")
    return fields


def _reject_constant(name: str) -> NoReturn:
    raise InvalidPush(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise InvalidPush("a number in the JSON is too large")
    return number


# strict=False accepts unescaped control characters: users can write them, and some senders do not escape them.
_JSON = json.JSONDecoder(
    object_pairs_hook=_object_of, parse_constant=_reject_constant, parse_float=_finite, strict=False
)


# --- XML ---


def _xml_fields(text: str) -> dict[str, Any]:
    if NOT_IN_XML.search(text):
        # Users can write characters that XML cannot express. Losing them is better than losing the message.
        text = NOT_IN_XML.sub("\ufffd", text)
    reader = _XmlReader()
    try:
        return reader.read(text.lstrip())
    except (expat.ExpatError, ValueError):
        pass
    raise InvalidPush("the body is not well-formed XML")


class _XmlReader:
    """A parser that builds nested dicts from expat's events. It rejects any DOCTYPE, and thus all custom entities."""

    def __init__(self) -> None:
        self._stack: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._elements = 0

    def read(self, text: str) -> dict[str, Any]:
        # This encoding overrides the one that the document declares, because the text is already decoded.
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = _reject_doctype
        self._root: dict[str, Any] = {}
        self._stack.append(self._root)
        parser.Parse(text, True)
        top = next(iter(self._root.values()))
        return top if isinstance(top, dict) else {}

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if len(self._stack) > MAX_DEPTH:
            raise InvalidPush("the XML is nested too deeply")
        if self._elements > MAX_ELEMENTS:
            raise InvalidPush(f"the XML has more than {MAX_ELEMENTS} elements")
        self._text.clear()
        self._stack.append({})

    def _end(self, name: str) -> None:
        children = self._stack.pop()
        value: Any = children or "".join(self._text)
        self._text.clear()
        parent = self._stack[-1]
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]


def _reject_doctype(*_: Any) -> NoReturn:
    raise InvalidPush("the XML has a DOCTYPE, which WeChat never sends")
