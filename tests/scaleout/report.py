"""The output of the parts: progress while they run, and a summary at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from tests.scaleout.network import Network


@dataclass
class Result:
    """The result of a part: figures, broken promises and missed targets.

    A missed target is reported but is not a failure, because it depends on the machine and its load.
    """

    name: str
    figures: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return all lines of the result."""
        broken = [f"BROKEN: {promise}" for promise in self.broken]
        return [*self.figures, *broken, *(f"MISSED: {target}" for target in self.missed)]


@dataclass(frozen=True)
class Run:
    """A run of the parts: the network, the folder for logs, and the options."""

    network: Network
    folder: Path
    seed: int
    broker: bool
    short: bool
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self.began:7.1f} s  {text}")


def load() -> str:
    """Return the load average of this machine."""
    return "load {:.1f} {:.1f} {:.1f}".format(*os.getloadavg())


def spread(seconds: Sequence[float]) -> str:
    """Return percentiles and the maximum in milliseconds."""
    if not seconds:
        return "nothing measured"
    shares = (0.5, 0.9, 0.99)
    percentiles = [f"p{share * 100:.0f} {percentile(seconds, share) * 1000:.0f}" for share in shares]
    return f"{'  '.join(percentiles)}  max {max(seconds) * 1000:.0f} ms"


def percentile(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def summary(results: Iterable[Result]) -> bool:
    """Print the results. Return True if no promise was broken."""
    broken = missed = 0
    for result in results:
        click.echo("\n    ".join(("", result.name, *result.lines())).replace("    ", "", 1))
        broken += len(result.broken)
        missed += len(result.missed)
    click.echo(f"\nPromises broken: {broken}. Targets missed: {missed}.")
    return broken == 0
