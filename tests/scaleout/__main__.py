"""``python -m tests.scaleout``: run all parts (about five minutes), or the parts that are named."""

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

from tests.scaleout.deployment import HOSTS, NICE
from tests.scaleout.elastic import elastic
from tests.scaleout.latency import latency
from tests.scaleout.load_with_faults import load_with_faults
from tests.scaleout.network import NEEDED, CannotBuild, Network, network
from tests.scaleout.report import Result, Run, load, summary
from tests.scaleout.takeover import takeover
from tests.servers.programs import REDIS, SWITCH, found, required

PARTS: dict[str, Callable[[Run], Result]] = {
    "faults": load_with_faults,
    "latency": latency,
    "takeover": takeover,
    "elastic": elastic,
}


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if found(REDIS) is None:
        return _skipped(f"there is no {REDIS} here: run `make servers`")
    gc.disable()  # a pause of the platform would look like a pause of the bot
    try:
        os.nice(-NICE)
        with network(HOSTS) as built:
            return _run_all(options, built)
    except (CannotBuild, PermissionError) as error:
        return _skipped(f"it needs {NEEDED} ({error})")
    except KeyboardInterrupt:
        click.echo("interrupted; all processes have ended")
        return 128 + signal.SIGINT


def _run_all(options: argparse.Namespace, built: Network) -> int:
    folder = Path(tempfile.mkdtemp(prefix="wxbot-scaleout-"))
    run = Run(built, folder, options.seed, not options.without_broker, options.short)
    run.say(f"seed {options.seed}; logs in {folder}; {load()}")
    passed = summary([_run_part(name, run) for name in options.parts or PARTS])
    if passed and not options.keep:
        shutil.rmtree(folder)
    else:
        click.echo(f"Logs of all processes: {folder}")
    return 0 if passed else 1


def _run_part(name: str, run: Run) -> Result:
    gc.collect()
    try:
        result = PARTS[name](run)
    except AssertionError as error:  # a wait timed out; the other parts run nevertheless
        result = Result(name, broken=[str(error)])
    for line in result.lines():
        run.say(line)
    return result


def _skipped(why: str) -> int:
    click.echo(f"test-scaleout skipped: {why}", err=True)
    return 1 if required() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.scaleout", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=1, help="seed of messages and faults (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="send fewer messages, and inject shorter faults")
    parser.add_argument("--without-broker", action="store_true", help="let each gunicorn process what it accepts")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    parser.epilog = f"With {SWITCH}=required, a missing requirement is a failure instead of a skip."
    return parser


if __name__ == "__main__":
    sys.exit(main())
