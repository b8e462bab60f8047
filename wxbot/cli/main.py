"""The command line: ``python -m wxbot run | worker | playground | check | plugins | deadletters | handovers | …``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from wxbot.cli.check import check as check_everything
from wxbot.cli.operate import deadletters, handovers, store_group
from wxbot.errors import ConfigError, PluginError, StoreUnavailable, WxbotError
from wxbot.logs import configure_logging
from wxbot.model import accounts as known_capabilities
from wxbot.server.assembly import check_broker, make_deployment, make_plugins, make_store
from wxbot.server.plugin_setup import PluginSet, misspelt_everywhere
from wxbot.settings.accounts_file import problems_of
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import AccountSettings, Settings
from wxbot.version import __version__

USER_ERROR = 2
"""The exit code for an error that the user can fix; click uses the same one."""
TRY_AGAIN = os.EX_TEMPFAIL
"""The exit code of ``run`` and ``worker`` if the store or the broker is unavailable. systemd then starts them again."""


class _Commands(click.Group):
    """A group of commands that prints an error of wxbot as one message without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except WxbotError as error:
            click.echo(f"wxbot: {error}", err=True)
            sys.exit(USER_ERROR)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wxbot")
def main() -> None:
    """A chatbot framework for WeChat customer-service messages."""


@main.command()
@click.argument("gunicorn_options", nargs=-1, type=click.UNPROCESSED)
def run(gunicorn_options: tuple[str, ...]) -> None:
    """Run the bot with gunicorn. Options after -- go to gunicorn, for example -- --workers 4."""
    _serve(load_settings(), gunicorn_options)


@main.command()
@click.option(
    "--processes", type=click.IntRange(1), default=None, help="Number of processes (default: WEB_CONCURRENCY, or 2)."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=None,
    help="Maximum number of users that one process handles at the same time (default: WXBOT_MAX_CONVERSATIONS).",
)
@click.option(
    "--bind",
    default="127.0.0.1:0",
    show_default="a free port of 127.0.0.1",
    help="Address of /healthz, /readyz and /metrics.",
)
@click.argument("gunicorn_options", nargs=-1, type=click.UNPROCESSED)
def worker(processes: int | None, concurrency: int | None, bind: str, gunicorn_options: tuple[str, ...]) -> None:
    """Process the messages of webhook processes. See docs/scaling.md. Options after -- go to gunicorn."""
    os.environ["WXBOT_ROLE"] = "worker"
    if concurrency is not None:
        os.environ["WXBOT_MAX_CONVERSATIONS"] = str(concurrency)
    # A folder of their own for these processes, because all programs of the machine share Dramatiq's default folder.
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="wxbot-metrics-"))
    workers = [] if processes is None else ["--workers", str(processes)]
    _serve(load_settings(), ("--bind", bind, *workers, *gunicorn_options))


def _serve(settings: Settings, gunicorn_options: Sequence[str]) -> None:
    """Check everything that can be checked, and replace this process by gunicorn."""
    make_deployment(settings)  # reports all problems once, instead of once from each worker
    try:
        _connect(settings)
    except StoreUnavailable as error:
        click.echo(f"wxbot: {error}", err=True)
        sys.exit(TRY_AGAIN)
    if not Path("wsgi.py").is_file():
        raise click.UsageError("there is no wsgi.py here: run this in the folder of your bot (see docs/deployment.md)")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app", *gunicorn_options])  # noqa: S606


def _connect(settings: Settings) -> None:
    """Connect once to the store and to the broker, if there is one. Raises ConfigError, StoreUnavailable."""
    first = next(iter(settings.accounts.values()))  # all accounts share the store and the broker
    store = make_store(settings.process, first.retention)
    store.open()
    store.close()
    check_broker(settings.process.broker.url, first.credentials.appid)


@main.command("playground")
@click.option("--console", is_flag=True, help="Chat in this terminal instead of a web page.")
@click.option("--demo", is_flag=True, help="Play a scripted conversation with the demo plugins and check every reply.")
@click.option(
    "--play",
    "transcript",
    type=click.Path(path_type=Path),
    default=None,
    help="Play this transcript without a browser, and fail if the bot's replies differ.",
)
@click.option(
    "--plugins",
    "folders",
    default=None,
    help="Plugin folders, separated by commas (default: plugins and examples/plugins, if they exist).",
)
@click.option(
    "--account-kind",
    type=click.Choice(["miniprogram", "official", "unverified"]),
    default="miniprogram",
    show_default=True,
    help="Kind of the simulated account.",
)
@click.option(
    "--mode",
    type=click.Choice(["plain", "compatible", "safe"]),
    default="safe",
    show_default=True,
    help="Encryption mode of the pushes.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "xml"]),
    default="json",
    show_default=True,
    help="Data format of the pushes.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the web page (default: a free one).")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address that the web page listens on. If it is not loopback, the page requires the key in the printed URL.",
)
@click.option(
    "--target",
    default="",
    metavar="URL",
    help="Callback URL of a running bot to test, written in any language.",
)
@click.option(
    "--appid",
    default="",
    envvar="TARGET_APPID",
    help="With --target: the AppID of that bot (default: one is generated and printed).",
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
@click.option(
    "--api-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="With --target: the port of the simulated WeChat API (default: a free one).",
)
def playground(**options: Any) -> None:
    """Start a local WeChat simulator. It is a web page where you chat with your bot, without account and network."""
    from wxbot.playground.command import PlaygroundOptions, open_playground

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # so that the bot's process ends too
    chosen = PlaygroundOptions(**options)
    try:
        sys.exit(0 if open_playground(chosen, _print, _input_lines()) else 1)
    except KeyboardInterrupt:
        if chosen.has_result:
            click.echo("wxbot: interrupted", err=True)
        sys.exit(128 + signal.SIGINT if chosen.has_result else 0)


@main.command()
def check() -> None:
    """Check settings, plugins, store and API. Print one sentence for each check."""
    settings = load_settings()
    configure_logging("ERROR", settings.secrets())
    works = True
    for account in _each_with_heading(settings.accounts):
        for finding in check_everything(settings.process, account):
            works = works and finding.good
            _print(f"{'ok ' if finding.good else 'NO '} {finding.sentence}")
    for problem in _unread_plugin_settings(settings.accounts):
        works = False
        _print(f"NO  {problem}" + ("" if problem.endswith("?") else "."))
    sys.exit(0 if works else 1)


def _unread_plugin_settings(accounts: Mapping[str, AccountSettings]) -> list[str]:
    """Return the problems of plugin settings that no account's plugin reads. Other problems were printed before."""
    if "" in accounts:
        return []
    try:
        return misspelt_everywhere([make_plugins(account) for account in accounts.values()])
    except (ConfigError, PluginError):
        return []


@main.command()
def plugins() -> None:
    """List the plugins and their handlers. The order is that in which the bot tries them."""
    accounts = load_settings().accounts
    found = _plugins_of(accounts)
    for account in _each_with_heading(accounts):
        for plugin in found[account.name].router.plugins:
            click.echo(f"{plugin.name}  {plugin.description}".rstrip())
            for handler in (*plugin.handlers, *filter(None, [plugin.fallback_handler])):
                click.echo(f"    {handler.purpose}  ▶  {handler.name}")


def _plugins_of(accounts: Mapping[str, AccountSettings]) -> dict[str, PluginSet]:
    """Return the plugins of each account by its name. Raises ConfigError with all problems, PluginError."""
    found: dict[str, PluginSet] = {}
    problems: list[str] = []
    for name, account in accounts.items():
        try:
            found[name] = make_plugins(account)
        except (ConfigError, PluginError) as error:
            if not name:
                raise
            problems += problems_of(account, error)
    if problems:
        raise ConfigError(problems)
    return found


@main.command()
def capabilities() -> None:
    """Print what each kind of account can do. The output is a Markdown table of messages and replies."""
    click.echo(known_capabilities.table(), nl=False)


def _each_with_heading(accounts: Mapping[str, AccountSettings]) -> Iterator[AccountSettings]:
    """Yield each account's settings, after printing its name as a heading if there are several accounts."""
    for number, (name, account) in enumerate(accounts.items()):
        if name:
            _print(f"{os.linesep if number else ''}[{name}]")
        yield account


def _print(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


def _input_lines() -> Iterator[str]:
    for text in sys.stdin:
        yield text.rstrip("\n")


for group in (deadletters, handovers, store_group):
    main.add_command(group)
