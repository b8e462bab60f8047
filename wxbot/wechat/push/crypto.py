"""Signatures and encryption of WeChat's message push. This module uses no clock and no network.

wechatpy does the AES (``wechatpy.crypto.base.WeChatCipher``). This module does all other work: wechatpy checks
neither padding nor lengths, compares with ``!=`` and takes its random bytes from ``random``.

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
"""WeChat pads to 32 bytes, not to AES's 16. Code that expects 16 rejects about half of all real pushes."""


def signature(*parts: str) -> str:
    """Return WeChat's ``signature`` or ``msg_signature``: the SHA-1 of the sorted ``parts`` as lower-case hex."""
    joined = b"".join(sorted(part.encode("utf-8", "surrogatepass") for part in parts))
    return hashlib.sha1(joined).hexdigest()  # noqa: S324 - WeChat's protocol requires SHA-1


def same(a: str, b: str) -> bool:
    """Return True if the texts are equal. The comparison takes constant time; the texts need not be ASCII."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))


class Decrypted(NamedTuple):
    """A decrypted message and the number of its AES key: 0 is the current key, 1 the previous one."""

    plaintext: bytes
    key: int


class Envelope:
    """The encryption of pushes and responses of one account. Threads may share it.

    ``aes_key`` is the EncodingAESKey of 43 characters. ``previous_aes_key`` is tried second, so that no push is lost
    while the key is changed in WeChat's console. Raises ValueError for a key of the wrong form.
    """

    def __init__(self, appid: str, token: str, aes_key: str, previous_aes_key: str | None = None) -> None:
        self._appid = appid.encode()
        self._token = token
        keys = [aes_key] if previous_aes_key is None else [aes_key, previous_aes_key]
        self._ciphers = [WeChatCipher(decode_aes_key(key)) for key in keys]

    def verify_msg_signature(self, msg_signature: str, timestamp: str, nonce: str, ciphertext: str) -> None:
        """Raise InvalidPush (403) if ``msg_signature`` is not the signature of these values and the account's token."""
        if not same(msg_signature, signature(self._token, timestamp, nonce, ciphertext)):
            raise InvalidPush("the msg_signature is wrong: set WXBOT_TOKEN to the Token in WeChat's console", 403)

    def decrypt(self, ciphertext: str) -> Decrypted:
        """Decrypt base64 ``ciphertext``. Raises InvalidPush; if both keys fail, with the error of the current one."""
        data = _unbase64(ciphertext)
        first_error: InvalidPush | None = None
        for key, cipher in enumerate(self._ciphers):
            try:
                return Decrypted(self._message_in(_unpad(cipher.decrypt(data))), key)
            except InvalidPush as error:
                first_error = first_error or error
        assert first_error is not None  # noqa: S101 - there is always one key
        raise first_error

    def encrypt(self, plaintext: bytes, key: int = 0, random16: bytes | None = None) -> str:
        """Encrypt ``plaintext`` with the key number ``key`` and return base64. ``random16`` is for test vectors."""
        prefix = secrets.token_bytes(_RANDOM) if random16 is None else random16
        content = prefix + len(plaintext).to_bytes(4, "big") + plaintext + self._appid
        return base64.b64encode(self._ciphers[key].encrypt(_pad(content))).decode("ascii")

    def encrypted_xml(
        self, plaintext: bytes, timestamp: int, nonce: str, key: int = 0, random16: bytes | None = None
    ) -> str:
        """Return the encrypted response for an account whose format is XML. ``timestamp`` is in seconds since 1970."""
        encrypted = self.encrypt(plaintext, key, random16)
        signed = signature(self._token, str(timestamp), nonce, encrypted)
        return (
            f"<xml>\n<Encrypt>{cdata(encrypted)}</Encrypt>\n<MsgSignature>{cdata(signed)}</MsgSignature>\n"
            f"<TimeStamp>{timestamp}</TimeStamp>\n<Nonce>{cdata(nonce)}</Nonce>\n</xml>"
        )

    def encrypted_json(
        self, plaintext: bytes, timestamp: int, nonce: str, key: int = 0, random16: bytes | None = None
    ) -> str:
        """Return the encrypted response for an account whose format is JSON. ``timestamp`` is in seconds since 1970."""
        encrypted = self.encrypt(plaintext, key, random16)
        signed = signature(self._token, str(timestamp), nonce, encrypted)
        answer = {"Encrypt": encrypted, "MsgSignature": signed, "TimeStamp": timestamp, "Nonce": nonce}
        return json.dumps(answer, ensure_ascii=False)

    def _message_in(self, content: bytes) -> bytes:
        end = _PREFIX + int.from_bytes(content[_RANDOM:_PREFIX], "big")
        if len(content) < _PREFIX or end > len(content):
            raise InvalidPush("the decrypted push is damaged: its length prefix is wrong")
        if not hmac.compare_digest(content[end:], self._appid):
            raise InvalidPush(
                "the decrypted push is for another account: set WXBOT_APPID to the AppID of this account", 403
            )
        return content[_PREFIX:end]


def cdata(text: str) -> str:
    """Return ``text`` as XML CDATA. A ``]]>`` in it is split over two sections, so that it does not end the first."""
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
        raise InvalidPush("the push cannot be decrypted: set WXBOT_AES_KEY to the EncodingAESKey in WeChat's console")
    return padded[:-count]
