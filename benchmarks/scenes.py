"""The benchmarks that run whole servers. Each returns rows for the report; none before all was answered."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.crowd import (
    IN_ORDER,
    Crowd,
    FreshConnections,
    Incomplete,
    KeptConnections,
    Line,
    Visit,
    visits,
)
from benchmarks.platform_double import PlatformDouble
from benchmarks.report import Row
from benchmarks.servers import BARE, BY_HAND, Server, serving, wxbot

REDELIVERY_SECONDS = 5.0
WARM_UP = 300
MOST_REPEATS = 4
SETTLING = 0.3
"""Seconds after the last call in which what belongs to a message is finished (the store's last write)."""


@dataclass(frozen=True, slots=True)
class Load:
    """Steady load: ``messages`` of as many users, ``in_flight`` of them unanswered at any time."""

    messages: int
    in_flight: int
    keep_alive: bool = False


async def cpu_per_message(folder: Path, load: Load, rounds: int) -> list[Row]:
    """CPU time of the bot's processes for one message: three servers, in turn, several rounds."""
    platform = PlatformDouble()
    await platform.start()
    targets = (wxbot("echo"), BY_HAND, BARE)
    used: dict[str, list[float]] = {target.name: [] for target in targets}
    repeated: Counter[str] = Counter()
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(target, folder, platform.port)) for target in targets]
        for server in servers:
            await server.ready()
            await _round(server, platform, replace(load, messages=WARM_UP))
        for _ in range(rounds):
            for server in servers:
                used[server.target.name].append(await _whole_round(server, platform, load, repeated))
    platform.stop()
    own = statistics.median(used["wxbot"])
    return [
        Row(
            f"CPU per message: {name}",
            {"min": min(figures), "median": statistics.median(figures), "max": max(figures)},
            "ms",
            f"{statistics.median(figures) / own:.2f} x wxbot"
            + f", {repeated[name]} incomplete rounds left out" * (repeated[name] > 0),
        )
        for name, figures in used.items()
    ]


async def _whole_round(server: Server, platform: PlatformDouble, load: Load, repeated: Counter[str]) -> float:
    """Milliseconds of CPU per message. A round in which a typing call was left out (wxbot does that when a machine is
    too busy to show it in time) did less work: it is repeated."""
    for _ in range(MOST_REPEATS):
        used, planned = await _round(server, platform, load)
        if server.target is BARE or all(sorted(visit.kinds) == sorted(IN_ORDER) for visit in planned):
            return used / len(planned) * 1000
        repeated[server.target.name] += 1
    raise Incomplete(f"{server.target.name} left out typing calls in {MOST_REPEATS} rounds; is the machine busy?")


async def _round(server: Server, platform: PlatformDouble, load: Load) -> tuple[float, list[Visit]]:
    line = KeptConnections(server.port) if load.keep_alive else FreshConnections(server.port)
    planned = visits(load.messages, keep_alive=load.keep_alive)
    before = server.cpu_seconds()
    await Crowd(platform, line, answers=server.target is not BARE).keep_in_flight(planned, load.in_flight)
    await asyncio.sleep(SETTLING)
    used = server.cpu_seconds() - before
    if isinstance(line, KeptConnections):
        line.close()
    return used, planned


async def burst(folder: Path, *, users: int, workers: int) -> list[Row]:
    """All ``users`` push within one second, whatever the bot does."""
    platform = PlatformDouble()
    await platform.start()
    with serving(wxbot("echo"), folder, platform.port, workers) as server:
        line = await _warm(server, platform)
        planned = visits(users)
        all_answered = await Crowd(platform, line).arrive(planned, users)
        await asyncio.sleep(1.0)
    platform.stop()
    if any(visit.kinds.count("send") != 1 for visit in planned):
        raise Incomplete("a user was answered twice")
    waits = [visit.acknowledged_at - visit.due_at for visit in planned]
    late = sum(wait > REDELIVERY_SECONDS for wait in waits)
    name = f"burst of {users} in 1 s, {workers} worker{'s' * (workers > 1)}"
    return [
        Row(f"{name}: push to acknowledgment", _spread(waits), "ms", f"later than 5 s: {late}"),
        Row(f"{name}: push to answer", _spread(_answer_times(planned)), "ms", f"all answered in {all_answered:.2f} s"),
        Row(
            f"{name}: users who saw",
            {
                "Typing": sum("Typing" in visit.kinds for visit in planned),
                "all three calls in order": sum(visit.kinds == IN_ORDER for visit in planned),
            },
            "users",
        ),
    ]


async def waiting_handlers(folder: Path, *, users: int, seconds: int, over: float) -> list[Row]:
    """``users`` async handlers that wait ``seconds`` each, at the same time in one process."""
    platform = PlatformDouble()
    await platform.start()
    with serving(wxbot("slow"), folder, platform.port) as server:
        line = await _warm(server, platform, "slow 0")
        memory, cpu, most = server.memory_mib(), server.cpu_seconds(), 0.0
        planned = visits(users, f"slow {seconds}")
        crowd = Crowd(platform, line)
        work = asyncio.create_task(crowd.arrive(planned, users / over))
        while not work.done():
            most = max(most, server.memory_mib())
            await asyncio.wait({work}, timeout=0.1)
        await work
        await asyncio.sleep(SETTLING)
        cpu = server.cpu_seconds() - cpu
    platform.stop()
    name = f"{users} handlers of {seconds} s"
    typing = _typing_times(planned)
    late = [visit.when("send") - visit.due_at - seconds for visit in planned]
    return [
        Row(
            f"{name}: push to Typing",
            _spread(typing),
            "ms",
            f"{_shown(typing, planned)}; {crowd.most_waiting} waited at once",
        ),
        Row(f"{name}: answer after the handler's time", _spread(late), "ms"),
        Row(
            f"{name}: memory",
            {"before": memory, "most": most},
            "MiB",
            f"{(most - memory) * 1024 / users:.1f} KiB a user",
        ),
        Row(f"{name}: CPU per message", {"mean": cpu / users * 1000}, "ms"),
    ]


async def typing_latency(folder: Path, *, per_second: float, seconds: float) -> list[Row]:
    """From the push to the Typing call on the wire, at a modest rate."""
    platform = PlatformDouble()
    await platform.start()
    rows = []
    for target in (wxbot("echo"), BY_HAND):
        with serving(target, folder, platform.port) as server:
            line = await _warm(server, platform)
            planned = visits(int(per_second * seconds))
            cpu = server.cpu_seconds()
            await Crowd(platform, line).arrive(planned, per_second)
            await asyncio.sleep(SETTLING)
            cpu = server.cpu_seconds() - cpu
        name = f"{per_second:g} messages/s, {target.name}"
        typing = _typing_times(planned)
        rows += [
            Row(f"{name}: push to Typing", _spread(typing), "ms", _shown(typing, planned)),
            Row(f"{name}: push to answer", _spread(_answer_times(planned)), "ms"),
            Row(f"{name}: CPU per message", {"mean": cpu / len(planned) * 1000}, "ms"),
        ]
    platform.stop()
    return rows


async def _warm(server: Server, platform: PlatformDouble, text: str = "hello") -> Line:
    await server.ready()
    line = FreshConnections(server.port)
    await Crowd(platform, line).keep_in_flight(visits(WARM_UP, text), 16)
    await asyncio.sleep(SETTLING)
    return line


def _typing_times(planned: Sequence[Visit]) -> list[float]:
    return [visit.when("Typing") - visit.due_at for visit in planned if "Typing" in visit.kinds]


def _shown(typing: Sequence[float], planned: Sequence[Visit]) -> str:
    return f"shown to {len(typing)} of {len(planned)}, all answered"


def _answer_times(planned: Sequence[Visit]) -> list[float]:
    return [visit.when("send") - visit.due_at for visit in planned]


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": ordered[len(ordered) // 2] * 1000,
        "p99": ordered[int(len(ordered) * 0.99)] * 1000,
        "max": ordered[-1] * 1000,
    }
