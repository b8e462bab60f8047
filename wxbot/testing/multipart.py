"""Reading an uploaded file from a multipart form as WeChat does, which accepts only a plain ``filename``."""

from __future__ import annotations

import re
from email.message import Message

_NAME = re.compile(r'[;\s](name|filename)="([^"]*)"', re.IGNORECASE)


def file_in(content_type: str, body: bytes, field: str) -> tuple[str, bytes] | None:
    """Return the name and content of the file in the field ``field``, or None if there is no file.

    A part is a file only if it has a plain ``filename="…"``, because WeChat does not read ``filename*=``.
    """
    boundary = _boundary_of(content_type)
    if not boundary:
        return None
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        names = {name.lower(): value for name, value in _NAME.findall(head.decode(errors="replace"))}
        if names.get("name") == field and names.get("filename"):
            return names["filename"], content
    return None


def _boundary_of(content_type: str) -> str:
    message = Message()
    message["Content-Type"] = content_type
    return message.get_boundary("") if message.get_content_type() == "multipart/form-data" else ""
