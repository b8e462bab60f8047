"""Benchmarks of whole servers. Each returns rows for the report after all messages were answered."""

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
    Connections,
    Crowd,
    Incomplete,
    KeepAliveConnections,
    Message,
    NewConnections,
    make_messages,
)
from benchmarks.platform_double import PlatformDouble
from benchmarks.report import Row
from benchmarks.servers import BARE, BY_HAND, Server, serving, wxbot

REDELIVERY_SECONDS = 5.0
WARM_UP = 300
MAX_REPEATS = 4
SETTLE_SECONDS = 0.3
"""Seconds after the last call in which the work for a message ends (the last write of the store)."""


@dataclass(frozen=True, slots=True)
class Load:
    """A constant load: ``messages`` of as many users, ``in_flight`` of them unanswered at the same time."""

    messages: int
    in_flight: int
    keep_alive: bool = False


async def cpu_per_message(folder: Path, load: Load, rounds: int) -> list[Row]:
    """Measure the CPU time per message of three servers, one after the other, in several rounds."""
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
                used[server.target.name].append(await _complete_round(server, platform, load, repeated))
    platform.stop()
    own = statistics.median(used["wxbot"])
    return [
        Row(
            f"CPU per message: {name}",
            {"min": min(figures), "median": statistics.median(figures), "max": max(figures)},
            "ms",
            f"{statistics.median(figures) / own:.2f} x wxbot"
            + f", {repeated[name]} incomplete rounds repeated" * (repeated[name] > 0),
        )
        for name, figures in used.items()
    ]


async def _complete_round(server: Server, platform: PlatformDouble, load: Load, repeated: Counter[str]) -> float:
    """Return the milliseconds of CPU per message.

    wxbot skips a typing call if a busy machine would be too late with it. Such a round did less work and is repeated.
    """
    for _ in range(MAX_REPEATS):
        used, planned = await _round(server, platform, load)
        if server.target is BARE or all(sorted(message.kinds) == sorted(IN_ORDER) for message in planned):
            return used / len(planned) * 1000
        repeated[server.target.name] += 1
    raise Incomplete(f"{server.target.name} skipped typing calls in {MAX_REPEATS} rounds: the machine may be busy")


async def _round(server: Server, platform: PlatformDouble, load: Load) -> tuple[float, list[Message]]:
    connections = KeepAliveConnections(server.port) if load.keep_alive else NewConnections(server.port)
    planned = make_messages(load.messages, keep_alive=load.keep_alive)
    before = server.cpu_seconds()
    await Crowd(platform, connections, answers=server.target is not BARE).keep_in_flight(planned, load.in_flight)
    await asyncio.sleep(SETTLE_SECONDS)
    used = server.cpu_seconds() - before
    if isinstance(connections, KeepAliveConnections):
        connections.close()
    return used, planned


async def burst(folder: Path, *, users: int, workers: int) -> list[Row]:
    """Measure a burst: all ``users`` push within one second, independent of the bot."""
    platform = PlatformDouble()
    await platform.start()
    with serving(wxbot("echo"), folder, platform.port, workers) as server:
        connections = await _warm_up(server, platform)
        planned = make_messages(users)
        all_answered = await Crowd(platform, connections).arrive(planned, users)
        await asyncio.sleep(1.0)
    platform.stop()
    if any(message.kinds.count("send") != 1 for message in planned):
        raise Incomplete("a user was answered twice")
    waits = [message.acknowledged_at - message.due_at for message in planned]
    late = sum(wait > REDELIVERY_SECONDS for wait in waits)
    name = f"burst of {users} in 1 s, {workers} worker{'s' * (workers > 1)}"
    return [
        Row(f"{name}: push to acknowledgment", _spread(waits), "ms", f"later than 5 s: {late}"),
        Row(f"{name}: push to reply", _spread(_reply_times(planned)), "ms", f"all answered in {all_answered:.2f} s"),
        Row(
            f"{name}: users who saw",
            {
                "Typing": sum("Typing" in message.kinds for message in planned),
                "all three calls in order": sum(message.kinds == IN_ORDER for message in planned),
            },
            "users",
        ),
    ]


async def waiting_handlers(folder: Path, *, users: int, seconds: int, over: float) -> list[Row]:
    """Measure ``users`` async handlers that wait ``seconds`` each, at the same time in one process."""
    platform = PlatformDouble()
    await platform.start()
    with serving(wxbot("slow"), folder, platform.port) as server:
        connections = await _warm_up(server, platform, "slow 0")
        memory, cpu, most = server.memory_mib(), server.cpu_seconds(), 0.0
        planned = make_messages(users, f"slow {seconds}")
        crowd = Crowd(platform, connections)
        work = asyncio.create_task(crowd.arrive(planned, users / over))
        while not work.done():
            most = max(most, server.memory_mib())
            await asyncio.wait({work}, timeout=0.1)
        await work
        await asyncio.sleep(SETTLE_SECONDS)
        cpu = server.cpu_seconds() - cpu
    platform.stop()
    name = f"{users} handlers of {seconds} s"
    typing = _typing_times(planned)
    late = [message.when("send") - message.due_at - seconds for message in planned]
    return [
        Row(
            f"{name}: push to Typing",
            _spread(typing),
            "ms",
            f"{_shown(typing, planned)}; {crowd.max_waiting} waited at once",
        ),
        Row(f"{name}: reply after the handler's time", _spread(late), "ms"),
        Row(
            f"{name}: memory",
            {"before": memory, "max": most},
            "MiB",
            f"{(most - memory) * 1024 / users:.1f} KiB a user",
        ),
        Row(f"{name}: CPU per message", {"mean": cpu / users * 1000}, "ms"),
    ]


async def typing_latency(folder: Path, *, per_second: float, seconds: float) -> list[Row]:
    """Measure the time from the push to the Typing call, at a moderate rate."""
    platform = PlatformDouble()
    await platform.start()
    rows = []
    for target in (wxbot("echo"), BY_HAND):
        with serving(target, folder, platform.port) as server:
            connections = await _warm_up(server, platform)
            planned = make_messages(int(per_second * seconds))
            cpu = server.cpu_seconds()
            await Crowd(platform, connections).arrive(planned, per_second)
            await asyncio.sleep(SETTLE_SECONDS)
            cpu = server.cpu_seconds() - cpu
        name = f"{per_second:g} messages/s, {target.name}"
        typing = _typing_times(planned)
        rows += [
            Row(f"{name}: push to Typing", _spread(typing), "ms", _shown(typing, planned)),
            Row(f"{name}: push to reply", _spread(_reply_times(planned)), "ms"),
            Row(f"{name}: CPU per message", {"mean": cpu / len(planned) * 1000}, "ms"),
        ]
    platform.stop()
    return rows


async def _warm_up(server: Server, platform: PlatformDouble, text: str = "hello") -> Connections:
    await server.ready()
    connections = NewConnections(server.port)
    await Crowd(platform, connections).keep_in_flight(make_messages(WARM_UP, text), 16)
    await asyncio.sleep(SETTLE_SECONDS)
    return connections


def _typing_times(planned: Sequence[Message]) -> list[float]:
    return [message.when("Typing") - message.due_at for message in planned if "Typing" in message.kinds]


def _shown(typing: Sequence[float], planned: Sequence[Message]) -> str:
    return f"shown to {len(typing)} of {len(planned)}, all answered"


def _reply_times(planned: Sequence[Message]) -> list[float]:
    return [message.when("send") - message.due_at for message in planned]


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": ordered[len(ordered) // 2] * 1000,
        "p99": ordered[int(len(ordered) * 0.99)] * 1000,
        "max": ordered[-1] * 1000,
    }
