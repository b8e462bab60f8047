"""Tests of the SQLite store: its file, its errors and its recovery from faults."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.store.processes import running_processes
from tests.store.support import ALICE, APPID, NOW, Stores, Worker, incoming
from wxbot.errors import LeaseLost, StoreUnavailable
from wxbot.model.quota import Quota
from wxbot.store.port import TOKEN
from wxbot.store.records import WITH_BOT, ConversationRecord, Handover, Progress, SharedValue
from wxbot.store.sqlite import operations
from wxbot.store.sqlite import writer as sqlite_writer
from wxbot.store.sqlite.schema import SCHEMA_VERSION
from wxbot.store.sqlite.store import SqliteStore

SECRET = "what the user wrote: 4711-0815"
NOBODY = 65534

Fault = Callable[[Path], AbstractContextManager[None]]


class File:
    """tests.store.support.Backend: only SQLite here, and one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def store(self) -> SqliteStore:
        return SqliteStore(self._path)

    def time_passes(self, seconds: float) -> None:
        raise NotImplementedError

    def empty(self) -> None:
        raise NotImplementedError


@pytest.fixture
def backend(file: Path) -> File:
    return File(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wxbot.db"


def refuses_to_open(path: Path) -> str:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable) as caught:
        store.open()
    store.close()
    return str(caught.value)


# The content of the file


def test_the_users_text_is_deleted_when_the_message_is_done(one: Worker, file: Path) -> None:
    one.accept(incoming(SECRET, dedup_key="msg:1"))
    claim = one.claims()
    one.completes(claim, "retry", retry_at=NOW, unsent=({"kind": "text", "text": SECRET},))
    assert SECRET in everything_in(file)
    one.works_off()
    assert SECRET not in everything_in(file)


def everything_in(file: Path) -> str:
    """Return every value of every table as text."""
    with closing(sqlite3.connect(file)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        content = "\n".join(str(row) for table in tables for row in db.execute(f'SELECT * FROM "{table}"'))  # noqa: S608
    db.close()
    return content


def test_only_the_owner_can_read_the_file(one: Worker, file: Path) -> None:
    one.accept(incoming("hi"))
    for path in file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_an_accepted_message_is_synced_to_the_disk(one: Worker, tmp_path: Path) -> None:
    """Accepting and completing use FULL to survive a power loss. Other operations use NORMAL."""
    one.accept(incoming("hi"))
    assert synchronous(one.store) == 2
    claim = one.claims()
    assert synchronous(one.store) == 1
    one.completes(claim)
    assert synchronous(one.store) == 2
    relaxed = SqliteStore(tmp_path / "relaxed.db", full_sync=False)
    relaxed.open()
    relaxed.accept(incoming("hi"))
    assert synchronous(relaxed) == 1
    relaxed.close()


def synchronous(store: object) -> int:
    assert isinstance(store, SqliteStore)
    connection = store.writer._connection
    assert connection is not None
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    return int(level)


# Files of an older wxbot

OLD_SCHEMA = """
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    appid TEXT NOT NULL,
    openid TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    fields TEXT NOT NULL,
    received_at REAL NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    unsent TEXT NOT NULL DEFAULT '[]',
    died_at REAL,
    reason TEXT,
    UNIQUE (appid, openid, dedup_key)
);
CREATE INDEX inbox_waiting ON inbox (appid, openid, seq) WHERE status = 0;
CREATE INDEX inbox_dead ON inbox (seq) WHERE status = 2;
CREATE TABLE conversations (
    appid TEXT NOT NULL,
    openid TEXT NOT NULL,
    owner TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0,
    next_at REAL,
    interacted_at REAL NOT NULL,
    typing_until REAL NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (appid, openid)
) WITHOUT ROWID;
CREATE INDEX conversations_waiting ON conversations (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE tokens (
    appid TEXT PRIMARY KEY,
    value TEXT,
    expires_at REAL NOT NULL DEFAULT 0,
    fetching_until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
OLD_ACCEPT = f"""
INSERT INTO inbox (appid, openid, dedup_key, fields, received_at, attempts)
    VALUES ('{APPID}', 'alice', 'msg:TEXT', '{{"Content":"TEXT"}}', {NOW}, 0);
INSERT INTO conversations (appid, openid, next_at, interacted_at) VALUES ('{APPID}', 'alice', {NOW}, {NOW})
    ON CONFLICT DO UPDATE SET next_at = coalesce(next_at, excluded.next_at),
    interacted_at = max(interacted_at, excluded.interacted_at);
"""  # noqa: S608


def execute(file: Path, script: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript(script)


@pytest.fixture
def old_file(file: Path) -> Path:
    execute(file, OLD_SCHEMA + OLD_ACCEPT.replace("TEXT", "before"))
    return file


@pytest.mark.usefixtures("old_file")
def test_a_file_of_an_older_wxbot_is_upgraded(stores: Stores) -> None:
    one = stores.worker("one")
    assert (one.accept(incoming("before")), one.quota()) == ([False], None)
    claim = one.claims()
    assert (claim.conversation.quota, claim.conversation.handover) == (None, WITH_BOT)
    assert one.wait(one.store.save_reply(claim.lease, claim.message.seq, {"kind": "text"}))
    one.completes(claim, quota=Quota(4, NOW), handover=Handover(NOW + 9, "agent"))
    one.wait(one.store.put(APPID, "media:cat", SharedValue("id", NOW + 9), NOW))
    one.store.close()
    two = stores.worker("two")  # existing columns are not added again
    assert two.wait(two.store.handovers(APPID, NOW, 10)) == [(ALICE, Handover(NOW + 9, "agent"))]
    assert two.wait(two.store.get(APPID, "media:cat")) == SharedValue("id", NOW + 9)
    assert two.quota() == Quota(4, NOW)


def test_an_older_wxbot_works_beside_a_newer_one(old_file: Path, stores: Stores) -> None:
    """In an upgrade, processes are replaced one by one."""
    one = stores.worker("one")
    one.delivers("a human, please", at=NOW + 1, handover=Handover(NOW + 9), quota=Quota(5, NOW + 99))
    execute(old_file, OLD_ACCEPT.replace("TEXT", "meanwhile"))
    assert one.works_off(now=NOW + 2) == ["before", "a human, please", "meanwhile"]
    assert one.quota() == Quota(5, NOW + 99)
    with closing(sqlite3.connect(old_file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.usefixtures("old_file")
def test_several_processes_upgrade_a_file_at_once(backend: File) -> None:
    with running_processes() as processes:
        assert processes.run(_open, backend) == [False] * processes.count


def _open(backend: File, ready: threading.Barrier) -> bool:
    """Open the store. Runs in its own process."""
    store = backend.store()
    ready.wait(20)
    store.open()
    try:
        return store.accept(incoming("before")).new
    finally:
        store.close()


# Deleting


def test_expired_media_is_deleted_in_small_parts(one: Worker, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "EXPIRED_LIMIT", 2)
    for n in range(5):
        one.wait(one.store.put(APPID, f"media:{n}", SharedValue("id", NOW + n), NOW - 1))
    left = []
    for _ in range(3):
        one.wait(one.store.put(APPID, "media:other", SharedValue("", NOW), NOW + 3))
        with closing(sqlite3.connect(file)) as db:
            left.append([digest for (digest,) in db.execute("SELECT digest FROM media ORDER BY digest")])
    assert left == [["2", "3", "4"], ["4"], ["4"]]


# Errors at the start


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    message = refuses_to_open(tmp_path / "nowhere" / "wxbot.db")
    assert str(tmp_path / "nowhere") in message
    assert "check that its folder exists" in message


def test_a_folder_instead_of_a_file_is_explained(tmp_path: Path) -> None:
    assert str(tmp_path) in refuses_to_open(tmp_path)


def test_a_file_that_is_no_database_is_explained(file: Path) -> None:
    file.write_text("this is a shopping list, not a database\n" * 100)
    assert "not a database" in refuses_to_open(file)
    assert file.read_text().startswith("this is a shopping list")


def test_a_file_of_a_newer_version_is_refused(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    assert "newer wxbot" in refuses_to_open(file)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    db.close()


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """Return a folder of an ordinary user, because root ignores permissions."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Drop the permissions of root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_explained(own_folder: Path) -> None:
    with ordinary_user():
        own_folder.chmod(0o500)
        assert "this user may write to it" in refuses_to_open(own_folder / "wxbot.db")
        own_folder.chmod(0o700)


def test_a_read_only_file_is_explained(own_folder: Path) -> None:
    path = own_folder / "wxbot.db"
    with ordinary_user():
        store = SqliteStore(path)
        store.open()
        store.close()
        path.chmod(0o400)
        assert "readonly" in refuses_to_open(path)
        for file in own_folder.iterdir():  # SQLite's other files have the same mode
            file.chmod(0o600)
        store.open()
        assert store.accept(incoming("hi")).new
        store.close()


def test_a_closed_store_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="not open"):
        SqliteStore(tmp_path / "wxbot.db").accept(incoming("hi"))


def test_a_store_that_was_closed_can_be_opened_again(one: Worker) -> None:
    one.store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        one.accept(incoming("hi"))
    one.store.open()
    assert one.accept(incoming("hi")) == [True]


# Faults at run time: the error is reported, nothing is half done, and the store recovers


@pytest.fixture
def short_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "BUSY_SECONDS", 0.05)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of another process's transaction."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """Prevent this process from extending the file."""
    wal = file.with_name(file.name + "-wal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(file.stat().st_size, wal.stat().st_size), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("short_time_limits")
@pytest.mark.parametrize("fault", [locked, full_disk], ids=["locked", "full"])
class TestFaults:
    def test_no_message_is_accepted_during_the_fault_and_one_is_after_it(
        self, stores: Stores, file: Path, fault: Fault
    ) -> None:
        one = stores.worker("one")
        one.accept(incoming("before"))
        with fault(file):
            for text in ("first", "second"):
                with pytest.raises(StoreUnavailable, match=r"wxbot\.db"):
                    one.accept(incoming(text))
        assert one.works_off() == ["before"]
        assert one.accept(incoming("first"), incoming("second")) == [True, True]
        assert one.works_off() == ["first", "second"]

    def test_a_failed_operation_changes_nothing(self, stores: Stores, file: Path, fault: Fault) -> None:
        one = stores.worker("one")
        one.accept(incoming("hi"))
        claim = one.claims()
        with fault(file):
            with pytest.raises(StoreUnavailable):
                one.completes(claim, "dead", reason="x" * 10_000, state={"new": "y" * 10_000})
            with pytest.raises(StoreUnavailable):
                one.wait(one.store.ping())
        one.wait(one.store.ping())
        assert one.wait(one.store.dead_letters(APPID, 1)) == []
        one.completes(claim, "released")
        taken = one.claims()
        assert (taken.message.attempts, taken.conversation.state) == (1, {})

    def test_all_queued_operations_fail(self, stores: Stores, file: Path, fault: Fault) -> None:
        one = stores.worker("one")
        one.accept(incoming("hi"))

        async def ping_often() -> list[BaseException | None]:
            return list(await asyncio.gather(*(one.store.ping() for _ in range(5)), return_exceptions=True))

        with fault(file):
            assert {type(answer) for answer in one.wait(ping_often())} == {StoreUnavailable}


def test_the_store_waits_for_a_short_lock_of_another_process(one: Worker, file: Path) -> None:
    held = threading.Event()

    def release() -> None:
        held.wait(10)
        other.execute("COMMIT")

    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=release)
    thread.start()
    timer = threading.Timer(0.2, held.set)
    timer.start()
    assert one.accept(incoming("hi")) == [True]
    thread.join()
    timer.join()
    other.close()


def test_a_failing_operation_does_not_fail_its_batch(one: Worker) -> None:
    """Queued operations share a transaction, but one that fails does not affect the others."""
    one.accept(incoming("hi"))
    claim = one.claims()
    claim.lease.fence += 1

    async def story() -> list[object]:
        store = one.store
        calls = (
            store.checkpoint(claim.lease, ConversationRecord(typing_until=NOW)),
            store.ping(),
            store.checkpoint(claim.lease, ConversationRecord(NOW), Progress(claim.message.seq, 1)),
            store.get("none", TOKEN),
        )
        return list(await asyncio.gather(*calls, return_exceptions=True))

    answers = one.wait(story())
    assert [type(answer).__name__ for answer in answers] == ["LeaseLost", "NoneType", "LeaseLost", "NoneType"]


def test_a_failing_operation_does_not_repeat_its_batch(one: Worker, file: Path) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    claim.lease.fence += 1

    async def story() -> list[object]:
        store = one.store
        with locked(file):  # the first one waits for the lock, the others queue up
            first = asyncio.create_task(store.ping())
            await asyncio.sleep(0.05)
            begins = asyncio.create_task(store.lock("none", TOKEN, NOW, 10.0, outdated=None))
            fails = asyncio.create_task(store.checkpoint(claim.lease, ConversationRecord(NOW)))
            await asyncio.sleep(0)
        return list(await asyncio.gather(first, begins, fails, return_exceptions=True))

    _, begun, failed = one.wait(story())
    assert begun is True
    assert isinstance(failed, LeaseLost)
