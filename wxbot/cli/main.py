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
from wxbot.errors import ConfigError, PluginError, WxbotError
from wxbot.logs import configure_logging
from wxbot.model import accounts as known_capabilities
from wxbot.server.assembly import check_broker, make_deployment, make_plugins, make_store
from wxbot.server.plugin_setup import PluginSet, misspelt_everywhere
from wxbot.settings.accounts_file import all_secrets, load_accounts, problems_of
from wxbot.settings.schema import Settings
from wxbot.version import __version__

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
    make_deployment(accounts)  # every problem in one report now, rather than from each worker
    anyone = next(iter(accounts.values()))  # they share store and broker
    store = make_store(anyone)
    store.open()
    store.close()
    check_broker(anyone)
    if not Path("wsgi.py").is_file():
        raise click.UsageError("there is no wsgi.py here; run this in the folder of your bot (see docs/deployment.md)")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app", *gunicorn_options])  # noqa: S606


@main.command("playground")
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
def playground(**options: Any) -> None:
    """Try a bot with a fake WeChat on this machine: no account, no network."""
    from wxbot.playground.command import PlaygroundOptions, open_playground

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # so that the bot is ended as well
    chosen = PlaygroundOptions(**options)
    try:
        sys.exit(0 if open_playground(chosen, _say, _lines_written()) else 1)
    except KeyboardInterrupt:
        if chosen.has_result:
            click.echo("wxbot: interrupted", err=True)
        sys.exit(128 + signal.SIGINT if chosen.has_result else 0)


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
        return misspelt_everywhere([make_plugins(settings) for settings in accounts.values()])
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
            found[name] = make_plugins(settings)
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


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


def _lines_written() -> Iterator[str]:
    for text in sys.stdin:
        yield text.rstrip("\n")


for group in (deadletters, handovers, store_group):
    main.add_command(group)
