"""``python -m tests.scaleout``: all parts, about five minutes; or those that are named."""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.scaleout.deployment import FIRST, HOSTS
from tests.scaleout.elastic import elastic
from tests.scaleout.latency import latency
from tests.scaleout.network import NEEDED, CannotBuild, Network, network
from tests.scaleout.report import Result, Stage, load, summary
from tests.scaleout.storm import storm
from tests.scaleout.takeover import takeover
from tests.servers.programs import REDIS, SWITCH, found, required

PARTS: dict[str, Callable[[Stage], Result]] = {
    "storm": storm,
    "latency": latency,
    "takeover": takeover,
    "elastic": elastic,
}


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is ended and removed
    if found(REDIS) is None:
        return _skipped(f"there is no {REDIS} here: run `make servers`")
    gc.disable()  # a pause of the platform would look like one of the bot
    try:
        os.nice(-FIRST)
        with network(HOSTS) as built:
            return _play_all(options, built)
    except (CannotBuild, PermissionError) as error:
        return _skipped(f"it needs {NEEDED} ({error})")
    except KeyboardInterrupt:
        click.echo("interrupted; nothing is left running")
        return 128 + signal.SIGINT


def _play_all(options: argparse.Namespace, built: Network) -> int:
    folder = Path(tempfile.mkdtemp(prefix="wxbot-scaleout-"))
    stage = Stage(built, folder, options.seed, not options.without_broker, options.short)
    stage.say(f"seed {options.seed}; logs in {folder}; {load()}")
    kept = summary([_play(name, stage) for name in options.parts or PARTS])
    if kept and not options.keep:
        shutil.rmtree(folder)
    else:
        click.echo(f"The logs of all processes: {folder}")
    return 0 if kept else 1


def _play(name: str, stage: Stage) -> Result:
    gc.collect()
    try:
        result = PARTS[name](stage)
    except AssertionError as error:  # what was waited for has not come; the other parts are played all the same
        result = Result(name, broken=[str(error)])
    for line in result.lines():
        stage.say(line)
    return result


def _skipped(why: str) -> int:
    click.echo(f"test-scaleout was not run: {why}", err=True)
    return 1 if required() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.scaleout", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=1, help="of messages and of what goes wrong (%(default)s)")
    parser.add_argument("--short", action="store_true", help="fewer messages, shorter harm")
    parser.add_argument("--without-broker", action="store_true", help="every gunicorn answers what it accepts")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    parser.epilog = f"{SWITCH}=required makes it a failure where this cannot run."
    return parser


if __name__ == "__main__":
    sys.exit(main())
