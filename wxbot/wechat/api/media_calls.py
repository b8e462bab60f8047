"""Upload and download temporary media. aiohttp does the HTTP, because these calls are not frequent.

No error contains a URL or a token, and no error is chained, because network errors quote addresses. Redirects are not
followed. Every network failure becomes RequestNotSent, which allows a retry: no user sees an upload, and a download
changes nothing.

Sources: docs/wechat.md, section "Media", and
https://developers.weixin.qq.com/doc/service/api/material/temporary/api_uploadtempmedia
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from email.message import Message
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from wxbot.errors import ApiError, DeliveryUnknown, InvalidReply, PluginError, RequestNotSent, TokenRefused, WeChatError
from wxbot.model.media import MIB, Media, MediaKind, content_type_of
from wxbot.version import __version__
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.token import Tokens
from wxbot.wechat.http.transport import CONNECT_SECONDS, parse_response

UPLOAD_PATH = "/cgi-bin/media/upload"
DOWNLOAD_PATH = "/cgi-bin/media/get"

MAX_DOWNLOAD_BYTES = 20 * MIB
"""Maximum size of a download. It is above WeChat's own limits and bounds the memory for a wrong response."""

_OK = 200
_CHUNK_BYTES = 64 * 1024
_NAME_CHARS = 100
_MEDIA_ID = re.compile(r"[!-~]{1,256}")
_NOT_IN_UPLOAD_NAME = re.compile(r"[^A-Za-z0-9._-]")
_NOT_IN_NAME = re.compile(r'[<>:"/\\|?*]')
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE)
"""File names that are devices on Windows, with any extension."""
_NO_FILE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<(!doctype|!--|\?xml|xml|html|head|body|script)\b|\{[^{]{0,200}\"err(code|msg)\")",
    re.IGNORECASE,
)
"""The start of a web page or of an incomplete response of WeChat. Proxies send both with a wrong content type."""
_MIME = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")

ReadAnswer = Callable[[str, int, bytes, Iterable[str]], dict[str, Any]]
"""``transport.parse_response``, or ``cloud.parse_cloud_response`` with its mode."""

_T = TypeVar("_T")


class MediaCalls:
    """The calls that upload and download files. Call ``open`` on the running event loop.

    Failures of WeChat or the network raise WeChatError. ``seconds`` limits a whole request. A refused token is replaced
    once per call.
    """

    def __init__(
        self, tokens: Tokens, address: ApiAddress, *, seconds: float = 60.0, read_answer: ReadAnswer = parse_response
    ) -> None:
        self._tokens = tokens
        self._address = address
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=min(CONNECT_SECONDS, seconds))
        self._parse_response = read_answer
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Prepare for calls on the running event loop. It opens no connection yet."""
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"wxbot/{__version__}", "Accept-Encoding": "identity"},
            auto_decompress=False,  # a small compressed response could be huge when decompressed
        )

    async def close(self) -> None:
        """Close every connection. Later calls raise RequestNotSent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def upload(self, kind: MediaKind, media: Media) -> str:
        """Upload ``media`` and return its media id, valid three days. Raises InvalidReply for a bad content type."""
        if media.content_type and not _MIME.fullmatch(media.content_type.lower()):
            raise InvalidReply(f"{media.content_type[:80]!r} is not a content type for {kind}; an example is image/png")
        return await self._with_token(lambda token: self._upload(kind, media, token))

    async def download(self, media_id: str) -> Media:
        """Download a file. Raises MediaNotFound if WeChat does not have it, PluginError if ``media_id`` is no str."""
        if not isinstance(media_id, str):
            raise PluginError(f"download() takes the media id of a message, a str, not {type(media_id).__name__}")
        return await self._with_token(lambda token: self._download(media_id, token))

    async def _with_token(self, call: Callable[[str], Awaitable[_T]]) -> _T:
        token = await self._tokens.get()
        try:
            return await call(token)
        except TokenRefused:
            pass
        return await call(await self._tokens.replace(token))

    async def _upload(self, kind: MediaKind, media: Media, token: str) -> str:
        # quote_fields=False, because WeChat does not understand the file names that aiohttp quotes.
        form = aiohttp.FormData(quote_fields=False)
        form.add_field(
            "media",
            io.BytesIO(media.content),
            content_type=media.content_type or "application/octet-stream",
            filename=_upload_name(media, kind),
        )
        url = self._address.url(UPLOAD_PATH, token, type=kind)
        status, _, body = await self._exchange("POST", url, UPLOAD_PATH, form)
        answer = self._answer(UPLOAD_PATH, status, body, token)
        media_id = answer.get("media_id") or answer.get(f"{kind}_media_id")
        if isinstance(media_id, str) and _MEDIA_ID.fullmatch(media_id):
            return media_id
        raise RequestNotSent(f"{UPLOAD_PATH} failed, a retry is safe: WeChat's answer has no media_id")

    async def _download(self, media_id: str, token: str) -> Media:
        url = self._address.url(DOWNLOAD_PATH, token, media_id=media_id)
        status, headers, body = await self._exchange("GET", url, DOWNLOAD_PATH)
        if status == _OK and not _is_answer(body):
            return _file(headers, body, DOWNLOAD_PATH)
        answer = self._answer(DOWNLOAD_PATH, status, body, token)
        address = answer.get("video_url")
        if isinstance(address, str) and address:
            return await self._video(address)
        raise RequestNotSent(f"{DOWNLOAD_PATH} failed, a retry is safe: WeChat's answer has no file")

    async def _video(self, address: str) -> Media:
        """Download a video from another host. Its address needs no token, and the request carries none."""
        name = "the download of the video"
        url = _web_address(address)
        if url is None:
            raise WeChatError(f"{DOWNLOAD_PATH} failed: WeChat's answer has a video_url that is not a web address")
        status, headers, body = await self._exchange("GET", url, name)
        if status == _OK and not _is_answer(body):
            return _file(headers, body, name)
        if status >= 500 or status == _OK:
            raise RequestNotSent(f"{name} failed, a retry is safe: HTTP {status} without the file")
        raise ApiError(name, status, f"HTTP {status} without the file")

    def _answer(self, call: str, status: int, body: bytes, token: str) -> dict[str, Any]:
        try:
            return self._parse_response(call, status, body, (token,))
        except DeliveryUnknown:
            pass
        raise RequestNotSent(f"{call} failed, a retry is safe: HTTP {status} without a readable answer of WeChat")

    async def _exchange(
        self, method: str, url: URL, call: str, form: aiohttp.FormData | None = None
    ) -> tuple[int, Message, bytes]:
        """Return status, headers and body. Raises RequestNotSent; WeChatError if the response is too long."""
        if self._session is None:
            raise RequestNotSent(f"{call} was not sent: the client is not open")
        try:
            async with self._session.request(method, url, data=form, allow_redirects=False) as answer:
                return answer.status, _headers(answer), await _body_of(answer, call)
        except TimeoutError:
            problem = "no answer arrived in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: an invalid address
            problem = f"the connection failed or broke ({type(error).__name__})"
        except RuntimeError:  # aiohttp raises it when the session is being closed
            problem = "the client was closed"
        raise RequestNotSent(f"{call} failed, a retry is safe: {problem}")


async def _body_of(answer: aiohttp.ClientResponse, call: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_DOWNLOAD_BYTES:
            raise WeChatError(f"{call} failed: the answer has more than {MAX_DOWNLOAD_BYTES:,} bytes")
    return bytes(body)


def _headers(answer: aiohttp.ClientResponse) -> Message:
    """Return Content-Type and Content-Disposition as a Message, whose parser is lenient."""
    headers = Message()
    for name in ("Content-Type", "Content-Disposition"):
        value = answer.headers.get(name, "")
        headers[name] = "".join(char for char in value if char.isprintable())
    return headers


def _is_answer(body: bytes) -> bool:
    """Return True if ``body`` is a JSON object: WeChat sends errors with HTTP 200 in place of the file."""
    if body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] != b"{":
        return False
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _file(headers: Message, body: bytes, call: str) -> Media:
    content_type = content_type_of(body) or _content_type(headers)
    if not body or content_type.startswith("text/") or content_type == "application/json" or _NO_FILE.match(body):
        raise RequestNotSent(
            f"{call} failed, a retry is safe: the answer is {content_type if body else 'empty'}, not a file"
        )
    return Media(body, content_type, _filename(headers))


def _content_type(headers: Message) -> str:
    given = headers["Content-Type"].partition(";")[0].strip().lower()
    return given if _MIME.fullmatch(given) else "application/octet-stream"


def _filename(headers: Message) -> str:
    """Return the file name in Content-Disposition, without folders and characters that file systems do not accept."""
    try:
        name = headers.get_filename("")
    except (LookupError, ValueError):
        return ""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in _NOT_IN_NAME.sub("", name) if char.isprintable())
    name = name.strip()[-_NAME_CHARS:].strip(" .")
    return f"_{name}"[:_NAME_CHARS] if _DEVICE_NAME.fullmatch(name) else name


def _upload_name(media: Media, kind: MediaKind) -> str:
    """Return an ASCII file name, because WeChat reads only ``filename="…"``. Its extension tells WeChat the format."""
    return _NOT_IN_UPLOAD_NAME.sub("_", media.filename)[-_NAME_CHARS:] or kind


def _web_address(address: str) -> URL | None:
    try:
        url = URL(address)
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host and url.user is None else None
