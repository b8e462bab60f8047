"""The command line: ``python -m wxbot run | worker | simulate | check | plugins | deadletters | handovers | …``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from wxbot.check import check as check_everything
from wxbot.delivery.turn import RUN_AGAIN
from wxbot.errors import ConfigError, PluginError, StoreUnavailable, WxbotError
from wxbot.logs import configure_logging
from wxbot.model import accounts as known_capabilities
from wxbot.server.assembly import check_broker, make_bulk, make_clock, make_store
from wxbot.server.deployment import Deployment, problems_of
from wxbot.server.plugin_setup import PluginSet, load_plugins, misspelt_everywhere
from wxbot.settings.accounts_file import all_secrets, load_accounts
from wxbot.settings.schema import Settings, without_password
from wxbot.store.copying import End, copy, summary
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey, DeadLetter, HandOver
from wxbot.version import __version__

Result = TypeVar("Result")

LIST_LIMIT = 1_000_000
USER_FAULT = 2


class _Commands(click.Group):
    """Says what went wrong in wxbot's own words, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except WxbotError as error:
            click.echo(f"wxbot: {error}", err=True)
            sys.exit(USER_FAULT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wxbot")
def main() -> None:
    """A chatbot framework for WeChat customer-service messages."""


@main.command()
@click.argument("gunicorn_options", nargs=-1, type=click.UNPROCESSED)
def run(gunicorn_options: tuple[str, ...]) -> None:
    """Serve the bot with gunicorn. Options after -- go to gunicorn, such as -- --workers 4."""
    _serve(load_accounts(), gunicorn_options)


@main.command()
@click.option("--processes", type=click.IntRange(1), default=None, help="Processes (default: WEB_CONCURRENCY, or 2).")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=None,
    help="Users answered at the same time by one process (default: WXBOT_MAX_CONVERSATIONS).",
)
@click.option(
    "--bind",
    default="127.0.0.1:0",
    show_default="a free port of loopback",
    help="Where /healthz, /readyz and /metrics answer.",
)
@click.argument("gunicorn_options", nargs=-1, type=click.UNPROCESSED)
def worker(processes: int | None, concurrency: int | None, bind: str, gunicorn_options: tuple[str, ...]) -> None:
    """Answer what webhook machines accept (docs/scaling.md). Options after -- go to gunicorn."""
    os.environ["WXBOT_ROLE"] = "worker"
    if concurrency is not None:
        os.environ["WXBOT_MAX_CONVERSATIONS"] = str(concurrency)
    # Of these processes alone: Dramatiq's own folder is shared by all programs of the machine.
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="wxbot-metrics-"))
    chosen = [] if processes is None else ["--workers", str(processes)]
    _serve(load_accounts(), ("--bind", bind, *chosen, *gunicorn_options))


def _serve(accounts: Mapping[str, Settings], gunicorn_options: Sequence[str]) -> None:
    """Become gunicorn, once everything that can be checked is right."""
    Deployment(accounts)  # every problem in one report now, rather than from each worker
    anyone = next(iter(accounts.values()))  # they share store and broker
    store = make_store(anyone)
    store.open()
    store.close()
    check_broker(anyone)
    if not Path("wsgi.py").is_file():
        raise click.UsageError("there is no wsgi.py here; run this in the folder of your bot (see docs/deployment.md)")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app", *gunicorn_options])  # noqa: S606


@main.command("simulate")
@click.option("--console", is_flag=True, help="Play at this console instead of a web page.")
@click.option("--demo", is_flag=True, help="Play the scripted conversation and judge it.")
@click.option(
    "--play",
    "transcript",
    type=click.Path(path_type=Path),
    default=None,
    help="Play this transcript without a browser; fails where the bot answers differently.",
)
@click.option(
    "--plugins",
    "folders",
    default=None,
    help="Plugin folders (default: those of plugins, examples/plugins that exist).",
)
@click.option(
    "--account-kind",
    type=click.Choice(["miniprogram", "official", "unverified"]),
    default="miniprogram",
    show_default=True,
)
@click.option("--mode", type=click.Choice(["plain", "compatible", "safe"]), default="safe", show_default=True)
@click.option("--format", "form", type=click.Choice(["json", "xml"]), default="json", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page (default: a free one).")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where the page listens. Other than loopback it asks for the key in the address that is printed.",
)
@click.option(
    "--target", default="", metavar="URL", help="The callback URL of a bot that runs already, whatever wrote it."
)
@click.option(
    "--appid",
    default="",
    envvar="TARGET_APPID",
    help="With --target: the AppID that bot has (default: made up and printed).",
)
@click.option(
    "--secret",
    default="",
    envvar="TARGET_SECRET",
    help="With --target: its AppSecret (or TARGET_SECRET in the environment).",
)
@click.option("--token", default="", envvar="TARGET_TOKEN", help="With --target: its Token (or TARGET_TOKEN).")
@click.option(
    "--aes-key", default="", envvar="TARGET_AES_KEY", help="With --target: its EncodingAESKey (or TARGET_AES_KEY)."
)
@click.option("--api-port", type=click.IntRange(0, 65535), default=0, help="With --target: where the fake API listens.")
def simulate_command(**options: Any) -> None:
    """Try a bot with a fake WeChat on this machine: no account, no network."""
    from wxbot.simulator.command import Simulation, simulate

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # so that the bot is ended as well
    simulation = Simulation(**options)
    try:
        sys.exit(0 if simulate(simulation, _say, _lines_written()) else 1)
    except KeyboardInterrupt:
        if simulation.has_verdict:
            click.echo("wxbot: interrupted", err=True)
        sys.exit(128 + signal.SIGINT if simulation.has_verdict else 0)


@main.command()
def check() -> None:
    """Say in plain sentences what works and what would not."""
    accounts = load_accounts()
    configure_logging("ERROR", all_secrets(accounts))
    works = True
    for settings in _one_after_the_other(accounts):
        for finding in check_everything(settings):
            works = works and finding.good
            _say(f"{'ok ' if finding.good else 'NO '} {finding.sentence}")
    for problem in _unread_by_all(accounts):
        works = False
        _say(f"NO  {problem}" + ("" if problem.endswith("?") else "."))
    sys.exit(0 if works else 1)


def _unread_by_all(accounts: Mapping[str, Settings]) -> list[str]:
    """Settings of plugins that no account has; what else is wrong with plugins has been said."""
    if "" in accounts:
        return []
    try:
        return misspelt_everywhere([load_plugins(settings) for settings in accounts.values()])
    except (ConfigError, PluginError):
        return []


@main.command()
def plugins() -> None:
    """List the plugins and their handlers, in the order in which they are asked."""
    accounts = load_accounts()
    found = _plugins_of(accounts)
    for settings in _one_after_the_other(accounts):
        for plugin in found[settings.account].router.plugins:
            click.echo(f"{plugin.name}  {plugin.description}".rstrip())
            for handler in (*plugin.handlers, *filter(None, [plugin.fallback_handler])):
                click.echo(f"    {handler.purpose}  ▶  {handler.name}")


def _plugins_of(accounts: Mapping[str, Settings]) -> dict[str, PluginSet]:
    """Raises ConfigError with the problems of all accounts, PluginError."""
    found: dict[str, PluginSet] = {}
    problems: list[str] = []
    for name, settings in accounts.items():
        try:
            found[name] = load_plugins(settings)
        except (ConfigError, PluginError) as error:
            if not name:
                raise
            problems += problems_of(settings, error)
    if problems:
        raise ConfigError(problems)
    return found


@main.command()
def capabilities() -> None:
    """Show what each kind of account receives, sends and answers, as a Markdown table."""
    click.echo(known_capabilities.table(), nl=False)


def _one_after_the_other(accounts: Mapping[str, Settings]) -> Iterator[Settings]:
    """Each account's settings, with its name as a heading where accounts have names."""
    for number, (name, settings) in enumerate(accounts.items()):
        if name:
            _say(f"{os.linesep if number else ''}[{name}]")
        yield settings


_ACCOUNT = click.option("--account", metavar="NAME", default=None, help="Whose; needed where there are several.")


def _chosen(name: str | None) -> Settings:
    """The settings of the account ``name``; without a name, of the only one. Raises UsageError, ConfigError."""
    accounts = load_accounts()
    if name in accounts and name:
        return accounts[name]
    if "" in accounts and name is not None:
        raise click.UsageError("there is one account, without a name (WXBOT_ACCOUNTS is not set): leave --account out")
    if name is None and len(accounts) == 1:
        return next(iter(accounts.values()))
    there = ", ".join(accounts)
    if name is None:
        raise click.UsageError(f"there are several accounts, say which one with --account: {there}")
    raise click.UsageError(f"there is no account {name!r}; there are {there}")


@main.group()
def deadletters() -> None:
    """Messages that could not be answered: look at them, try them again, drop them."""


@deadletters.command("list")
@_ACCOUNT
def list_dead_letters(account: str | None) -> None:
    """List them with the reason, without what the user wrote."""
    letters = _letters_of(_chosen(account))
    for letter in letters:
        click.echo(_one_line(letter))
    click.echo(f"{len(letters)} dead letter(s)." if letters else "There are no dead letters.")


@deadletters.command("show")
@click.argument("number", type=int)
@_ACCOUNT
def show_dead_letter(number: int, account: str | None) -> None:
    """Show one whole, with what the user wrote and what was not sent."""
    letter = next((each for each in _letters_of(_chosen(account)) if each.seq == number), None)
    if letter is None:
        raise click.UsageError(f"there is no dead letter {number}")
    click.echo(_one_line(letter))
    for name, value in letter.fields.items():
        click.echo(f"    {name}: {value}")
    for entry in letter.unsent:
        click.echo(f"    not sent: {_without_content(entry)}")


@deadletters.command("retry")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@_ACCOUNT
def retry_dead_letters(numbers: tuple[int, ...], everything: bool, account: str | None) -> None:
    """Put them back into the inbox; a running bot takes them up within seconds. A user may then read a reply twice."""

    async def retry(store: Store, appid: str, number: int) -> bool:
        return await store.retry_dead_letter(appid, number, time.time())

    _for_each(numbers, everything, account, retry, "will be tried again")


@deadletters.command("drop")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@_ACCOUNT
def drop_dead_letters(numbers: tuple[int, ...], everything: bool, account: str | None) -> None:
    """Forget them for good."""

    async def drop(store: Store, appid: str, number: int) -> bool:
        return await store.drop_dead_letter(appid, number)

    _for_each(numbers, everything, account, drop, "dropped")


def _for_each(
    numbers: tuple[int, ...],
    everything: bool,
    account: str | None,
    act: Callable[[Store, str, int], Awaitable[bool]],
    done: str,
) -> None:
    if not numbers and not everything:
        raise click.UsageError("give the numbers that `deadletters list` shows, or --all")
    settings = _chosen(account)
    appid = settings.appid

    async def act_on_all(store: Store) -> list[tuple[int, bool]]:
        ours = [letter.seq for letter in await store.dead_letters(appid, LIST_LIMIT)]
        wanted = ours if everything else numbers
        return [(number, number in ours and await act(store, appid, number)) for number in wanted]

    results = _with_store(settings, act_on_all)
    for number, good in results:
        click.echo(f"{number} {done}" if good else f"{number} is not a dead letter")
    if not all(good for _, good in results):
        sys.exit(1)


def _with_store(settings: Settings, work: Callable[[Store], Awaitable[Result]]) -> Result:
    _refuse_to_create(settings)
    store = make_store(settings)
    store.open()

    async def at_work() -> Result:
        return await work(store)

    try:
        return asyncio.run(at_work())
    finally:
        store.close()


def _refuse_to_create(settings: Settings) -> None:
    """Who looks for messages in the wrong folder must not be told that there are none."""
    path = Path(settings.store_url.removeprefix("sqlite:///"))
    if settings.store_url.startswith("sqlite:///") and not path.exists():
        raise StoreUnavailable(f"there is no store {path.resolve()} (WXBOT_STORE_URL; a bot makes it when it starts)")


def _letters_of(settings: Settings) -> Sequence[DeadLetter]:
    return _with_store(settings, lambda store: store.dead_letters(settings.appid, LIST_LIMIT))


def _without_content(entry: Mapping[str, Any]) -> str | dict[str, Any]:
    """What is left of a message (``Turn.to_do``), files by their names alone."""
    if entry["kind"] == RUN_AGAIN:
        return "what the handler says when it runs again after that"
    files = {name: each["filename"] for name, each in entry.items() if isinstance(each, dict) and "content" in each}
    return {**entry, **files}


def _one_line(letter: DeadLetter) -> str:
    died = _local_time(letter.died_at)
    kind = letter.fields.get("Event") or letter.fields.get("MsgType")
    progress = f"tries {letter.attempts}, sent {letter.sent}"
    return f"{letter.seq}  {died}  {letter.key.openid}  {kind}  {progress}  {letter.reason}"


def _local_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


@main.group()
def handovers() -> None:
    """Users who are with human agents: the bot is silent towards them."""


@handovers.command("list")
@_ACCOUNT
def list_hand_overs(account: str | None) -> None:
    """List them: openid, agent, and until when the bot is silent."""
    settings = _chosen(account)
    found = _with_store(settings, lambda store: _hand_overs(store, settings))
    for key, hand_over in found:
        click.echo(f"{key.openid}  {hand_over.agent or 'any agent'}  until {_local_time(hand_over.until)}")
    click.echo(f"{len(found)} user(s)." if found else "No user is with human agents.")


async def _hand_overs(store: Store, settings: Settings) -> Sequence[tuple[ConversationKey, HandOver]]:
    return await store.hand_overs(settings.appid, time.time(), LIST_LIMIT)


@handovers.command("end")
@click.argument("openid")
@_ACCOUNT
def end_hand_over(openid: str, account: str | None) -> None:
    """Let the bot answer this user again, from their next message on."""
    key = ConversationKey((settings := _chosen(account)).appid, openid)
    if not _with_store(settings, lambda store: store.hand_back(key)):
        click.echo(f"{openid} is with no human agent")
        sys.exit(1)
    click.echo(f"{openid} is with the bot again")


@main.group("store")
def store_group() -> None:
    """The store with all messages: move it to another place."""


@store_group.command("copy")
@click.argument("addresses", metavar="[FROM] TO", nargs=-1)
@click.option("--all-accounts", is_flag=True, help="Every account found there, not only that of WXBOT_APPID.")
@_ACCOUNT
def copy_store(addresses: tuple[str, ...], all_accounts: bool, account: str | None) -> None:
    """Copy all messages from one store to another one, such as sqlite:///wxbot.db and redis://127.0.0.1:6379/0.

    FROM is WXBOT_STORE_URL unless it is given. Stop the bot first. FROM stays as it is, and TO must have nothing of the
    account yet. A copy that was interrupted is never worked by a bot: run the same command again.
    """
    appid, store_url = _what_to_copy(all_accounts, account)
    if not 1 <= len(addresses) <= 2:
        raise click.UsageError("give the address of the store to copy to, or two addresses: from where, and to where")
    from_address, to_address = (store_url, *addresses)[-2:]
    try:
        with _opened(from_address, create=False) as source, _opened(to_address, create=True) as target:
            copied = asyncio.run(copy(source, target, appid))
    except KeyboardInterrupt:
        click.echo("wxbot: interrupted; bots refuse what was copied so far. Run the same command again.", err=True)
        sys.exit(128 + signal.SIGINT)
    for appid, counts in copied.items():
        click.echo(summary(appid, counts))
    click.echo(f"All of it was copied. To work there, set WXBOT_STORE_URL to {target.name} and start the bot.")


def _what_to_copy(all_accounts: bool, account: str | None) -> tuple[str | None, str]:
    """The appid, or None for all, and the address of the store in use."""
    if not all_accounts:
        settings = _chosen(account)
        return settings.appid, settings.store_url
    if account is not None:
        raise click.UsageError("--all-accounts and --account exclude each other")
    return None, next(iter(load_accounts().values())).store_url


@contextmanager
def _opened(address: str, *, create: bool) -> Iterator[End]:
    """The store at ``address``. Raises UsageError for what is no address, StoreUnavailable."""
    name = without_password(address)
    try:
        settings = next(iter(load_accounts(store_url=address, broker_url="", role="webhook").values()))
        clock = make_clock(settings)
        bulk = make_bulk(settings, clock)
    except ConfigError as error:  # all else that is configured has been read before
        raise click.UsageError("; ".join(each.replace("WXBOT_STORE_URL", name, 1) for each in error.problems)) from None
    try:
        bulk.open(create=create)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{name} cannot be opened: {error}") from None
    try:
        yield End(name, bulk, clock)
    finally:
        bulk.close()


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


def _lines_written() -> Iterator[str]:
    for text in sys.stdin:
        yield text.rstrip("\n")


if __name__ == "__main__":
    main()
