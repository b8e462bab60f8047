"""Signatures and the encrypted envelope of WeChat's message push. Pure: no clock, no network.

The AES itself is wechatpy's (``wechatpy.crypto.base.WeChatCipher``). Everything around it is checked here, because
wechatpy checks neither padding nor lengths, compares with ``!=`` and draws its random bytes from ``random``.

Source: https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import NamedTuple

from wechatpy.crypto.base import WeChatCipher

from wxbot.errors import InvalidPush
from wxbot.model.accounts import decode_aes_key

_RANDOM = 16
_PREFIX = _RANDOM + 4
_AES_BLOCK = 16
_PAD_BLOCK = 32
"""WeChat pads to 32 bytes, not to AES's 16: an unpadder for 16 refuses about half of all real pushes."""


def signature(*parts: str) -> str:
    """SHA-1 of ``parts`` in byte order, as lower-case hex: WeChat's ``signature`` and ``msg_signature``."""
    joined = b"".join(sorted(part.encode("utf-8", "surrogatepass") for part in parts))
    return hashlib.sha1(joined).hexdigest()  # noqa: S324 - WeChat's protocol says SHA-1


def same(a: str, b: str) -> bool:
    """Compare without telling by time where the difference is. Takes any text, also what is not ASCII."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))


class Opened(NamedTuple):
    """A decrypted message and the key that opened it: 0 is the current one, 1 the one before."""

    plaintext: bytes
    key: int


class Envelope:
    """Opens and seals encrypted messages of one account, safe to share between threads.

    ``aes_key`` is the EncodingAESKey of 43 characters. ``previous_aes_key`` is tried second, so that a key can be
    changed in WeChat's console without losing what is under way. Raises ValueError on a key of the wrong form.
    """

    def __init__(self, appid: str, token: str, aes_key: str, previous_aes_key: str | None = None) -> None:
        self._appid = appid.encode()
        self._token = token
        keys = [aes_key] if previous_aes_key is None else [aes_key, previous_aes_key]
        self._ciphers = [WeChatCipher(decode_aes_key(key)) for key in keys]

    def verify_msg_signature(self, msg_signature: str, timestamp: str, nonce: str, ciphertext: str) -> None:
        """Raises InvalidPush (403) unless ``msg_signature`` covers these values and our token."""
        if not same(msg_signature, signature(self._token, timestamp, nonce, ciphertext)):
            raise InvalidPush("msg_signature is wrong: check that WXBOT_TOKEN is the Token in WeChat's console", 403)

    def decrypt(self, ciphertext: str) -> Opened:
        """The message in base64 ``ciphertext``. Raises InvalidPush, with the current key's reason if none fits."""
        data = _unbase64(ciphertext)
        first_refusal: InvalidPush | None = None
        for key, cipher in enumerate(self._ciphers):
            try:
                return Opened(self._message_in(_unpad(cipher.decrypt(data))), key)
            except InvalidPush as refusal:
                first_refusal = first_refusal or refusal
        assert first_refusal is not None  # noqa: S101 - there is always one key
        raise first_refusal

    def encrypt(self, plaintext: bytes, key: int = 0, random16: bytes | None = None) -> str:
        """``plaintext`` as base64 ciphertext, by the key number ``Opened.key``. ``random16`` is for test vectors."""
        prefix = secrets.token_bytes(_RANDOM) if random16 is None else random16
        content = prefix + len(plaintext).to_bytes(4, "big") + plaintext + self._appid
        return base64.b64encode(self._ciphers[key].encrypt(_pad(content))).decode("ascii")

    def seal_xml(
        self, plaintext: bytes, timestamp: int, nonce: str, key: int = 0, random16: bytes | None = None
    ) -> str:
        """An encrypted passive answer for an account whose data format is XML."""
        encrypted = self.encrypt(plaintext, key, random16)
        signed = signature(self._token, str(timestamp), nonce, encrypted)
        return (
            f"<xml>\n<Encrypt>{cdata(encrypted)}</Encrypt>\n<MsgSignature>{cdata(signed)}</MsgSignature>\n"
            f"<TimeStamp>{timestamp}</TimeStamp>\n<Nonce>{cdata(nonce)}</Nonce>\n</xml>"
        )

    def seal_json(
        self, plaintext: bytes, timestamp: int, nonce: str, key: int = 0, random16: bytes | None = None
    ) -> str:
        """An encrypted passive answer for an account whose data format is JSON."""
        encrypted = self.encrypt(plaintext, key, random16)
        signed = signature(self._token, str(timestamp), nonce, encrypted)
        answer = {"Encrypt": encrypted, "MsgSignature": signed, "TimeStamp": timestamp, "Nonce": nonce}
        return json.dumps(answer, ensure_ascii=False)

    def _message_in(self, content: bytes) -> bytes:
        end = _PREFIX + int.from_bytes(content[_RANDOM:_PREFIX], "big")
        if len(content) < _PREFIX or end > len(content):
            raise InvalidPush("the decrypted push is damaged: its length prefix does not fit")
        if not hmac.compare_digest(content[end:], self._appid):
            raise InvalidPush("the decrypted push is for another account: check WXBOT_APPID", 403)
        return content[_PREFIX:end]


def cdata(text: str) -> str:
    """``text`` as an XML CDATA section; a ``]]>`` in it is split over two, so it cannot end the section early."""
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _unbase64(ciphertext: str) -> bytes:
    try:
        data = base64.b64decode(ciphertext.strip(), validate=True)
    except ValueError:
        data = None
    if data is None:
        raise InvalidPush("Encrypt is not base64")
    if not data or len(data) % _AES_BLOCK:
        raise InvalidPush("Encrypt is damaged: its length is not a multiple of 16 bytes")
    return data


def _pad(content: bytes) -> bytes:
    count = _PAD_BLOCK - len(content) % _PAD_BLOCK
    return content + bytes([count]) * count


def _unpad(padded: bytes) -> bytes:
    count = padded[-1]
    if not 1 <= count <= _PAD_BLOCK or padded[-count:] != bytes([count]) * count:
        raise InvalidPush("Encrypt does not open with our key: check that WXBOT_AES_KEY is the EncodingAESKey")
    return padded[:-count]
