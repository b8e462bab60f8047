"""Commands for operators: list, retry and drop dead letters, list and end handovers, copy a store."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from wxbot.delivery.remaining_work import RUN_AGAIN
from wxbot.errors import ConfigError, StoreUnavailable
from wxbot.server.assembly import make_bulk_store, make_clock, make_store
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import AccountSettings, ProcessSettings, without_password
from wxbot.store.copying import End, copy, summary
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey, DeadLetter, Handover

Result = TypeVar("Result")

LIST_LIMIT = 1_000_000
"""Maximum number of records that a command reads."""

_ACCOUNT = click.option(
    "--account", metavar="NAME", default=None, help="Name of the account; required if there are several accounts."
)


@click.group()
def deadletters() -> None:
    """List, show, retry or drop dead letters. A dead letter is a message that could not be answered."""


@deadletters.command("list")
@_ACCOUNT
def list_dead_letters(account: str | None) -> None:
    """List all dead letters. The list has the reasons, but not the users' texts."""
    letters = _letters_of(account)
    for letter in letters:
        click.echo(_one_line(letter))
    click.echo(f"{len(letters)} dead letter(s)." if letters else "There are no dead letters.")


@deadletters.command("show")
@click.argument("number", type=int)
@_ACCOUNT
def show_dead_letter(number: int, account: str | None) -> None:
    """Show one dead letter. The output has the user's text and the replies that were not sent."""
    letter = next((each for each in _letters_of(account) if each.seq == number), None)
    if letter is None:
        raise click.UsageError(f"there is no dead letter {number}")
    click.echo(_one_line(letter))
    for name, value in letter.fields.items():
        click.echo(f"    {name}: {value}")
    for entry in letter.unsent:
        click.echo(f"    not sent: {_without_content(entry)}")


@deadletters.command("retry")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Retry all dead letters.")
@_ACCOUNT
def retry_dead_letters(numbers: tuple[int, ...], everything: bool, account: str | None) -> None:
    """Put dead letters back into the inbox. A running bot processes them. A user may get a reply twice."""

    async def retry(store: Store, appid: str, number: int) -> bool:
        return await store.remove_dead_letter(appid, number, time.time())

    _for_each(numbers, everything, account, retry, "is in the inbox again")


@deadletters.command("drop")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Delete all dead letters.")
@_ACCOUNT
def drop_dead_letters(numbers: tuple[int, ...], everything: bool, account: str | None) -> None:
    """Delete dead letters permanently."""

    async def drop(store: Store, appid: str, number: int) -> bool:
        return await store.remove_dead_letter(appid, number)

    _for_each(numbers, everything, account, drop, "deleted")


def _for_each(
    numbers: tuple[int, ...],
    everything: bool,
    account: str | None,
    act: Callable[[Store, str, int], Awaitable[bool]],
    done: str,
) -> None:
    """Call ``act`` with each dead letter, and print the result. ``done`` is the text for a success."""
    if not numbers and not everything:
        raise click.UsageError("give the numbers that `deadletters list` shows, or --all")
    process, chosen = _chosen(account)
    appid = chosen.credentials.appid

    async def act_on_all(store: Store) -> list[tuple[int, bool]]:
        existing = [letter.seq for letter in await store.dead_letters(appid, LIST_LIMIT)]
        wanted = existing if everything else numbers
        return [(number, number in existing and await act(store, appid, number)) for number in wanted]

    results = _with_store(process, chosen, act_on_all)
    for number, succeeded in results:
        click.echo(f"{number} {done}" if succeeded else f"{number} is not a dead letter")
    if not all(succeeded for _, succeeded in results):
        sys.exit(1)


def _with_store(
    process: ProcessSettings, account: AccountSettings, work: Callable[[Store], Awaitable[Result]]
) -> Result:
    """Open the store, and return the result of ``work``. Raises StoreUnavailable."""
    _check_that_store_exists(process.store.url)
    store = make_store(process, account.retention)
    store.open()

    async def awaited() -> Result:
        return await work(store)

    try:
        return asyncio.run(awaited())
    finally:
        store.close()


def _check_that_store_exists(url: str) -> None:
    """Raise StoreUnavailable instead of creating an empty SQLite file, in which the command would find nothing."""
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.exists():
        raise StoreUnavailable(f"there is no store {path.resolve()}: check WXBOT_STORE_URL (a bot creates it at start)")


def _letters_of(account: str | None) -> Sequence[DeadLetter]:
    process, chosen = _chosen(account)
    return _with_store(process, chosen, lambda store: store.dead_letters(chosen.credentials.appid, LIST_LIMIT))


def _without_content(entry: Mapping[str, Any]) -> str | dict[str, Any]:
    """Return an entry of a dead letter (``RemainingWork.dead_letter_entries``) with names in place of files."""
    if entry["kind"] == RUN_AGAIN:
        return "the replies of the handler, which runs again"
    files = {name: each["filename"] for name, each in entry.items() if isinstance(each, dict) and "content" in each}
    return {**entry, **files}


def _one_line(letter: DeadLetter) -> str:
    died = _local_time(letter.died_at)
    kind = letter.fields.get("Event") or letter.fields.get("MsgType")
    progress = f"tries {letter.attempts}, sent {letter.sent}"
    return f"{letter.seq}  {died}  {letter.key.openid}  {kind}  {progress}  {letter.reason}"


def _local_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


@click.group()
def handovers() -> None:
    """List or end handovers. During a handover human agents handle the user, and the bot does not reply."""


@handovers.command("list")
@_ACCOUNT
def list_handovers(account: str | None) -> None:
    """List all handovers: openid, agent and end."""
    process, chosen = _chosen(account)
    found = _with_store(process, chosen, lambda store: _handovers(store, chosen.credentials.appid))
    for key, handover in found:
        click.echo(f"{key.openid}  {handover.agent or 'any agent'}  until {_local_time(handover.until)}")
    click.echo(f"{len(found)} handover(s)." if found else "There are no handovers.")


async def _handovers(store: Store, appid: str) -> Sequence[tuple[ConversationKey, Handover]]:
    return await store.handovers(appid, time.time(), LIST_LIMIT)


@handovers.command("end")
@click.argument("openid")
@_ACCOUNT
def end_handover_command(openid: str, account: str | None) -> None:
    """End a handover. The bot handles this user again from the next message on."""
    process, chosen = _chosen(account)
    key = ConversationKey(chosen.credentials.appid, openid)
    if not _with_store(process, chosen, lambda store: store.end_handover(key)):
        click.echo(f"{openid} has no handover")
        sys.exit(1)
    click.echo(f"the handover of {openid} has ended")


@click.group("store")
def store_group() -> None:
    """Copy the store with all messages to another store."""


@store_group.command("copy")
@click.argument("addresses", metavar="[FROM] TO", nargs=-1)
@click.option("--all-accounts", is_flag=True, help="Copy all accounts in the store, not only that of WXBOT_APPID.")
@_ACCOUNT
def copy_store(addresses: tuple[str, ...], all_accounts: bool, account: str | None) -> None:
    """Copy all messages to another store. Stores are addresses such as sqlite:///wxbot.db or redis://127.0.0.1:6379/0.

    The default of FROM is WXBOT_STORE_URL. Stop the bot first. FROM is not changed. TO must contain nothing of the
    account. Bots refuse an incomplete copy: if the command was interrupted, run it again.
    """
    appid, store_url = _what_to_copy(all_accounts, account)
    if not 1 <= len(addresses) <= 2:
        raise click.UsageError("give the address of the store to copy to, or two addresses: FROM and TO")
    from_address, to_address = (store_url, *addresses)[-2:]
    try:
        with _opened(from_address, create=False) as source, _opened(to_address, create=True) as target:
            copied = asyncio.run(copy(source, target, appid))
    except KeyboardInterrupt:
        click.echo("wxbot: interrupted; bots refuse the incomplete copy. Run the same command again.", err=True)
        sys.exit(128 + signal.SIGINT)
    for appid, counts in copied.items():
        click.echo(summary(appid, counts))
    click.echo(f"The copy is complete. To use it, set WXBOT_STORE_URL to {target.name} and start the bot.")


def _what_to_copy(all_accounts: bool, account: str | None) -> tuple[str | None, str]:
    """Return the AppID to copy, None for all accounts, and the address of the configured store."""
    if not all_accounts:
        process, chosen = _chosen(account)
        return chosen.credentials.appid, process.store.url
    if account is not None:
        raise click.UsageError("--all-accounts and --account exclude each other")
    return None, load_settings().process.store.url


@contextmanager
def _opened(address: str, *, create: bool) -> Iterator[End]:
    """Open the store at ``address``. Raises UsageError if it is not an address, StoreUnavailable."""
    name = without_password(address)
    try:
        settings = load_settings(store_url=address, broker_url="", role="webhook")
        clock = make_clock(settings.process)
        bulk = make_bulk_store(settings.process, next(iter(settings.accounts.values())).retention, clock)
    except ConfigError as error:  # a problem of ``address``, because the other settings were read before
        raise click.UsageError("; ".join(each.replace("WXBOT_STORE_URL", name, 1) for each in error.problems)) from None
    try:
        bulk.open(create=create)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{name} cannot be opened: {error}") from None
    try:
        yield End(name, bulk, clock)
    finally:
        bulk.close()


def _chosen(name: str | None) -> tuple[ProcessSettings, AccountSettings]:
    """Return the settings for the account ``name``; None is the only account. Raises UsageError, ConfigError."""
    settings = load_settings()
    accounts = settings.accounts
    if name in accounts and name:
        return settings.process, accounts[name]
    if "" in accounts and name is not None:
        raise click.UsageError("there is only one account (WXBOT_ACCOUNTS is not set): leave --account out")
    if name is None and len(accounts) == 1:
        return settings.process, next(iter(accounts.values()))
    names = ", ".join(accounts)
    if name is None:
        raise click.UsageError(f"there are several accounts, choose one with --account: {names}")
    raise click.UsageError(f"there is no account {name!r}: choose one of {names}")
