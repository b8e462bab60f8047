"""A dead letter that cannot be read must not lock its process out of the file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from wxbot.store.sqlite.store import SqliteStore

LETTER = (
    "INSERT INTO inbox (appid, openid, dedup_key, fields, received_at, status, died_at, reason)"
    " VALUES ('wx1', 'alice', ?, '', 0, 2, 0, '')"
)


def test_an_unreadable_dead_letter_leaves_no_query_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "wxbot.db")
    store.open()
    try:
        with closing(sqlite3.connect(tmp_path / "wxbot.db", isolation_level=None)) as other:
            other.executemany(LETTER, [("1",), ("2",)])
            with pytest.raises(json.JSONDecodeError) as failed:
                asyncio.run(store.dead_letters("wx1", 10))
            other.execute(LETTER, ("3",))  # the open query would still see the file before this write
            asyncio.run(store.ping())
            assert isinstance(failed.value, json.JSONDecodeError)
    finally:
        store.close()
