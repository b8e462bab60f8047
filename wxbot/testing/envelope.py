"""The format of a push and of its answer: signature, encryption, XML and JSON (docs/wechat.md, "Message push").

It follows WeChat's page "message push" and shares no code with the bot, because shared code would hide mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

Mode = Literal["safe", "compatible", "plain", "cloud"]
"""The protection of pushes. "cloud": pushes into a container on WeChat's own network, not encrypted and not signed."""
Format = Literal["xml", "json"]

_BLOCK_BITS = 256  # PKCS#7 padding to blocks of 32 bytes, where AES itself needs 16
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Malformed(ValueError):
    """Raised if WeChat does not accept an answer to a push. The text is the reason."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that sign and encrypt a push. ``aes_key``: the EncodingAESKey of 43 characters."""

    appid: str
    token: str = field(repr=False)
    aes_key: str = field(repr=False)


def new_aes_key() -> str:
    """Return a random EncodingAESKey: 43 characters of a-z A-Z 0-9 whose unused last bits are 0."""
    while True:
        key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        if key.isalnum():
            return key


def sign(*parts: str) -> str:
    """Return the SHA-1 of the parts, sorted by their bytes and joined, as lower-case hex."""
    ordered = sorted(part.encode() for part in parts)
    return hashlib.sha1(b"".join(ordered), usedforsecurity=False).hexdigest()


def encrypt(text: bytes, appid: str, aes_key: str, random: bytes | None = None) -> str:
    """Encrypt 16 random bytes, the length (4 bytes), ``text`` and the appid, padded, by AES-256-CBC. Return base64."""
    clear = (random or secrets.token_bytes(16)) + struct.pack(">I", len(text)) + text + appid.encode()
    padder = padding.PKCS7(_BLOCK_BITS).padder()
    encryptor = _cipher(aes_key).encryptor()
    sealed = encryptor.update(padder.update(clear) + padder.finalize()) + encryptor.finalize()
    return base64.b64encode(sealed).decode()


def decrypt(encrypted: str, aes_key: str) -> tuple[bytes, str]:
    """Return the text and the appid in ``encrypted``. Raises Malformed."""
    try:
        sealed = base64.b64decode(encrypted, validate=True)
        decryptor = _cipher(aes_key).decryptor()
        unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
        clear = unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + unpadder.finalize()
        (length,) = struct.unpack(">I", clear[16:20])
        return clear[20 : 20 + length], clear[20 + length :].decode()
    except (ValueError, struct.error) as problem:
        raise Malformed(f"cannot be decrypted: {problem}") from None


def _cipher(aes_key: str) -> Cipher[modes.CBC]:
    key = base64.b64decode(aes_key + "=")
    return Cipher(algorithms.AES(key), modes.CBC(key[:16]))


def to_text(fields: Mapping[str, Any], form: Format) -> str:
    """Return ``fields`` as WeChat writes them. XML is without control characters, because it does not allow them."""
    if form == "json":
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return "<xml>" + "".join(_element(name, value) for name, value in fields.items()) + "</xml>"


def _element(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_element(name, one) for one in value)
    if isinstance(value, Mapping):
        return f"<{name}>" + "".join(_element(key, one) for key, one in value.items()) + f"</{name}>"
    if isinstance(value, (int, float)):
        return f"<{name}>{value}</{name}>"
    return f"<{name}>{cdata(str(value))}</{name}>"


def cdata(text: str) -> str:
    """Return ``text`` as a CDATA section. Each ``]]>`` in it is split over two sections."""
    return "<![CDATA[" + _NOT_XML.sub("", text).replace("]]>", "]]]]><![CDATA[>") + "]]>"


def from_text(text: bytes, form: Format) -> dict[str, Any]:
    """Return the fields in an answer. Raises Malformed if it is not in this format."""
    try:
        fields = json.loads(text.decode()) if form == "json" else _from_xml(text)
    except (ValueError, ParseError, DefusedXmlException) as problem:
        raise Malformed(f"not {form.upper()}: {problem}") from None
    if not isinstance(fields, dict):
        raise Malformed(f"not a {form.upper()} object")
    return fields


def _from_xml(text: bytes) -> Any:
    root = fromstring(text.decode(), forbid_dtd=True)
    if root.tag != "xml":
        raise Malformed(f"the root is <{root.tag}>, not <xml>")
    return _children(root)


def _children(element: Any) -> Any:
    children = list(element)
    if not children:
        return element.text or ""
    fields: dict[str, Any] = {}
    for child in children:
        if child.tag in fields:
            before = fields[child.tag]
            fields[child.tag] = [*(before if isinstance(before, list) else [before]), _children(child)]
        else:
            fields[child.tag] = _children(child)
    return fields


def push(
    fields: Mapping[str, Any], keys: Keys, mode: Mode, form: Format, timestamp: str, nonce: str
) -> tuple[dict[str, str], bytes]:
    """Return the query and the body of a push. In compatible mode the body has the plain fields and Encrypt."""
    clear = to_text(fields, form).encode()
    if mode == "cloud":
        return {}, clear
    query = {"signature": sign(keys.token, timestamp, nonce), "timestamp": timestamp, "nonce": nonce}
    query["openid"] = str(fields.get("FromUserName", ""))
    if mode == "plain":
        return query, clear
    sealed = encrypt(clear, keys.appid, keys.aes_key)
    query |= {"encrypt_type": "aes", "msg_signature": sign(keys.token, timestamp, nonce, sealed)}
    outer = dict(fields) if mode == "compatible" else {"ToUserName": fields.get("ToUserName", "")}
    return query, to_text({**outer, "Encrypt": sealed}, form).encode()


def read_answer(body: bytes, keys: Keys, mode: Mode, form: Format, nonce: str) -> dict[str, Any] | None:
    """Return the fields of a passive reply; None for ``success`` and an empty body. Raises Malformed."""
    text = open_answer(body, keys, mode, form, nonce)
    return None if text is None else from_text(text, form)


def open_answer(body: bytes, keys: Keys, mode: Mode, form: Format, nonce: str) -> bytes | None:
    """Return the decrypted text of a passive reply; None for ``success`` and an empty body. Raises Malformed.

    Safe mode accepts only encrypted passive replies, plain and cloud mode only unencrypted ones, compatible mode both.
    """
    if body in (b"", b"success"):
        return None
    fields = from_text(body, form)
    if mode in ("plain", "cloud"):
        return body
    if "Encrypt" in fields:
        return _open(fields, keys, form, nonce)
    if mode == "compatible":
        return body
    raise Malformed("the answer is not encrypted, but the mode is safe")


def _open(fields: Mapping[str, Any], keys: Keys, form: Format, nonce: str) -> bytes:
    if set(fields) != {"Encrypt", "MsgSignature", "TimeStamp", "Nonce"}:
        raise Malformed(f"an encrypted answer has the wrong fields: {sorted(fields)}")
    if form == "json" and not isinstance(fields["TimeStamp"], int):
        raise Malformed("TimeStamp is not a number")
    parts = [str(fields[name]) for name in ("TimeStamp", "Nonce", "Encrypt")]
    if str(fields["Nonce"]) != nonce:
        raise Malformed("Nonce differs from the Nonce of the request")
    if sign(keys.token, *parts) != fields["MsgSignature"]:
        raise Malformed("MsgSignature is wrong")
    text, appid = decrypt(parts[2], keys.aes_key)
    if appid != keys.appid:
        raise Malformed("the answer is encrypted for another appid")
    return text
