"""Files that WeChat has already: each is uploaded once by all processes, as long as WeChat keeps it.

Source: docs/wechat.md, section "Media" (three days; an id may be used again).
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
from wxbot.store.port import MediaStore
from wxbot.store.records import StoredMedia
from wxbot.typing_indicator.port import Permit

KEPT_SECONDS = 3 * 86_400.0 - 3600.0
"""WeChat keeps a file for three days. One hour is left for what was uploaded and is sent only later."""

_log = logging.getLogger(__name__)

Upload = Callable[[MediaKind, Media], Awaitable[str]]


class MediaCache:
    """Puts media ids in place of files. All methods belong to one event loop.

    ``upload`` gives WeChat a file and returns its id. A store that is out of order costs nothing but uploads.
    """

    def __init__(self, appid: str, upload: Upload, shelf: MediaStore, clock: Clock) -> None:
        self._appid = appid
        self._upload = upload
        self._shelf = shelf
        self._clock = clock
        self._flights: dict[str, asyncio.Task[str]] = {}

    async def uploaded(self, reply: Reply, permit: Permit | None = None, refused: Reply | None = None) -> Reply:
        """``reply`` with an id for every file; itself if it has none. Raises WeChatError.

        ``permit`` is asked before each upload: nothing is uploaded for a user whom somebody else answers. ``refused``
        is what this gave before, if WeChat does not have the files in it any more: their ids are not used again.
        """
        ids: dict[str, Any] = {}
        for name, kind in reply.media.items():
            media = getattr(reply, name)
            if isinstance(media, Media):
                gone = "" if refused is None else getattr(refused, name)
                ids[name] = await self._media_id(kind, media, permit, gone)
            elif media is not None and not isinstance(media, str):
                raise InvalidReply(f"the {name} of a reply of the kind {reply.msg_type} has not been read")
        return dataclasses.replace(reply, **ids) if ids else reply

    async def close(self) -> None:
        """Give up the uploads that are under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _media_id(self, kind: MediaKind, media: Media, permit: Permit | None, gone: str) -> str:
        digest = _digest(kind, media)
        stored = await self._load(digest)
        if stored is not None and stored.media_id != gone and self._clock.now() < stored.expires_at:
            return stored.media_id
        if permit is not None and not permit():
            raise RequestNotSent("nothing was uploaded: the right to answer this user had run out meanwhile")
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._flights[digest] = asyncio.create_task(self._fly(digest, kind, media), name="wxbot-upload")
            flight.add_done_callback(lambda landed: self._landed(digest, landed))
        return await self._wait(flight)

    async def _wait(self, flight: asyncio.Task[str]) -> str:
        """The upload goes on when one of those who wait for it is cancelled."""
        await asyncio.wait({flight})
        if flight.cancelled():
            raise RequestNotSent("the upload was given up: the client was closed")
        return flight.result()

    async def _fly(self, digest: str, kind: MediaKind, media: Media) -> str:
        began = self._clock.now()
        media_id = await self._upload(kind, media)
        await self._save(digest, StoredMedia(media_id, began + KEPT_SECONDS))
        return media_id

    def _landed(self, digest: str, flight: asyncio.Task[str]) -> None:
        self._flights.pop(digest, None)
        if not flight.cancelled():
            flight.exception()  # seen, so that asyncio does not complain when every waiter has gone

    async def _load(self, digest: str) -> StoredMedia | None:
        try:
            return await self._shelf.load_media(self._appid, digest)
        except StoreUnavailable:
            return None

    async def _save(self, digest: str, media: StoredMedia) -> None:
        try:
            await self._shelf.save_media(self._appid, digest, media, self._clock.now())
        except StoreUnavailable:
            _log.warning("the id of an uploaded file could not be stored; the file will be uploaded again")


def _digest(kind: MediaKind, media: Media) -> str:
    """What tells files apart. The kind is part of it: WeChat keeps a picture and a thumb as different things."""
    return hashlib.sha256(kind.encode() + b"\0" + media.content).hexdigest()
