"""The cache of media ids: one process uploads a file for all, and again only after WeChat has deleted the file.

Source: docs/wechat.md, section "Media" (WeChat stores a file for three days; a media id may be used several times).
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from wxbot.clock import Clock
from wxbot.errors import InvalidReply, RequestNotSent, StoreUnavailable
from wxbot.model.media import Media, MediaKind
from wxbot.model.replies import Reply
from wxbot.store.port import SharedValues
from wxbot.store.records import SharedValue
from wxbot.typing_indicator.port import Permit

MEDIA_ID_SECONDS = 3 * 86_400.0 - 3600.0
"""Lifetime of a cached media id. WeChat stores a file for three days; one hour remains for a message that waits."""

_log = logging.getLogger(__name__)

Upload = Callable[[MediaKind, Media], Awaitable[str]]


class MediaCache:
    """A cache that replaces the files of a reply with media ids. Use all methods on one event loop.

    ``upload`` uploads a file to WeChat and returns its media id. While the store is unavailable, files are uploaded
    again for each message.
    """

    def __init__(self, appid: str, upload: Upload, store: SharedValues, clock: Clock) -> None:
        self._appid = appid
        self._upload = upload
        self._store = store
        self._clock = clock
        self._uploads: dict[str, asyncio.Task[str]] = {}

    async def uploaded(self, reply: Reply, permit: Permit | None = None, refused: Reply | None = None) -> Reply:
        """Return ``reply`` with a media id for every file, or ``reply`` itself if it has no file. Raises WeChatError.

        ``permit`` is asked before each upload, so nothing is uploaded for a user whose lease another process has.
        ``refused`` is an earlier result that WeChat refused with MediaNotFound; its media ids are not used again.
        """
        ids: dict[str, Any] = {}
        for name, kind in reply.media.items():
            media = getattr(reply, name)
            if isinstance(media, Media):
                refused_id = "" if refused is None else getattr(refused, name)
                ids[name] = await self._media_id(kind, media, permit, refused_id)
            elif media is not None and not isinstance(media, str):
                raise InvalidReply(
                    f"the {name} of a reply of type {reply.msg_type} is neither a media id nor a file that was read"
                )
        return dataclasses.replace(reply, **ids) if ids else reply

    async def close(self) -> None:
        """Cancel the running uploads."""
        uploads = list(self._uploads.values())
        for task in uploads:
            task.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)

    async def _media_id(self, kind: MediaKind, media: Media, permit: Permit | None, refused_id: str) -> str:
        digest = _digest(kind, media)
        stored = await self._load(digest)
        if stored is not None and stored.value != refused_id and self._clock.now() < stored.expires_at:
            return stored.value
        if permit is not None and not permit():
            raise RequestNotSent(
                f"{kind} was not uploaded: the lease on this conversation expired before the upload began"
            )
        task = self._uploads.get(digest)
        if task is None:
            task = self._uploads[digest] = asyncio.create_task(
                self._upload_and_save(digest, kind, media), name="wxbot-upload"
            )
            task.add_done_callback(lambda done: self._upload_done(digest, done))
        return await self._result_of(task)

    async def _result_of(self, upload: asyncio.Task[str]) -> str:
        """Return the media id. If one of several waiting callers is cancelled, the upload continues for the others."""
        await asyncio.wait({upload})
        if upload.cancelled():
            raise RequestNotSent("the upload was cancelled because the client was closed")
        return upload.result()

    async def _upload_and_save(self, digest: str, kind: MediaKind, media: Media) -> str:
        started_at = self._clock.now()
        media_id = await self._upload(kind, media)
        await self._save(digest, SharedValue(media_id, started_at + MEDIA_ID_SECONDS))
        return media_id

    def _upload_done(self, digest: str, upload: asyncio.Task[str]) -> None:
        self._uploads.pop(digest, None)
        if not upload.cancelled():
            upload.exception()  # otherwise asyncio logs the exception if every waiting caller was cancelled

    async def _load(self, digest: str) -> SharedValue | None:
        try:
            return await self._store.get(self._appid, _name(digest))
        except StoreUnavailable:
            return None

    async def _save(self, digest: str, media: SharedValue) -> None:
        try:
            await self._store.put(self._appid, _name(digest), media, self._clock.now())
        except StoreUnavailable as error:
            _log.warning("media id not stored, the file will be uploaded again: error=%s", error)


def _name(digest: str) -> str:
    """Return the name of a media id in the store."""
    return f"media:{digest}"


def _digest(kind: MediaKind, media: Media) -> str:
    """Return the cache key of a file. The kind is part of it, because WeChat stores an image and a thumb separately."""
    return hashlib.sha256(kind.encode() + b"\0" + media.content).hexdigest()
