"""``python -m benchmarks``: run all benchmarks (about three minutes), or the benchmarks that are named."""

from __future__ import annotations

import argparse
import asyncio
import gc
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import parts, scenes
from benchmarks.crowd import Incomplete
from benchmarks.report import Row, as_json, machine
from benchmarks.servers import CannotMeasure

ALL = ("cpu", "burst", "waiting", "latency", "parts")


def main() -> int:
    options = _parser().parse_args()
    names = options.what or ALL
    folder = Path(tempfile.mkdtemp(prefix="wxbot-bench-", dir=options.folder))
    gc.disable()  # a pause of this process would look like a pause of the bot
    rows: list[Row] = []
    try:
        if not options.json:
            print(*(f"{name}: {value}" for name, value in machine().items()), sep="\n", end="\n\n")
        rows = asyncio.run(_run(names, options, folder))
    except (Incomplete, CannotMeasure) as problem:
        print(f"no result: {problem}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(as_json(rows))
    return 0


async def _run(names: Sequence[str], options: argparse.Namespace, folder: Path) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        found = await _rows_of(name, options, folder)
        rows += found
        if not options.json:
            print(*found, "", sep="\n", flush=True)
    return rows


async def _rows_of(name: str, options: argparse.Namespace, folder: Path) -> list[Row]:
    if name == "cpu":
        load = scenes.Load(options.messages, options.in_flight, options.keep_alive)
        return await scenes.cpu_per_message(folder, load, options.rounds)
    if name == "burst":
        one = await scenes.burst(folder, users=options.users, workers=1)
        return one + await scenes.burst(folder, users=options.users, workers=2)
    if name == "waiting":
        few = await scenes.waiting_handlers(folder, users=1000, seconds=5, over=2)
        return few + await scenes.waiting_handlers(folder, users=5000, seconds=12, over=10)
    if name == "latency":
        return await scenes.typing_latency(folder, per_second=50, seconds=8)
    return [
        parts.open_push(),
        *parts.accept(folder, full_sync=True),
        *parts.accept(folder, full_sync=False),
        await asyncio.to_thread(parts.api_call),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="NAME", choices=[*ALL, []], help=f"any of {', '.join(ALL)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the CPU benchmark (%(default)s)")
    parser.add_argument(
        "--messages", type=int, default=1000, help="messages in a round of the CPU benchmark (%(default)s)"
    )
    parser.add_argument("--users", type=int, default=2000, help="users of the burst (%(default)s)")
    parser.add_argument("--in-flight", type=int, default=16, help="unanswered messages at the same time (%(default)s)")
    parser.add_argument(
        "--keep-alive", action="store_true", help="push over keep-alive connections in the CPU benchmark"
    )
    parser.add_argument(
        "--folder", default=_disk(), help="folder for files; use a real disk, or fsync costs nothing (%(default)s)"
    )
    return parser


def _disk() -> str:
    """Return a folder for temporary files on a disk, because /tmp is often in memory."""
    on_disk = Path("/var/tmp")  # noqa: S108 - only the parent of a folder that mkdtemp makes
    return str(on_disk) if on_disk.is_dir() else tempfile.gettempdir()


if __name__ == "__main__":
    sys.exit(main())
