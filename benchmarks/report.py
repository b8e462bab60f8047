"""Results as a plain table or as JSON, with a description of the machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One result: named figures of one unit, and a remark."""

    name: str
    figures: Mapping[str, float]
    unit: str
    remark: str = ""

    def __str__(self) -> str:
        figures = "  ".join(f"{name} {_short(value)}" for name, value in self.figures.items())
        return f"{self.name:<58} {figures} {self.unit}" + (f"   ({self.remark})" if self.remark else "")


def machine() -> dict[str, str]:
    """Return a description of the machine and the versions of packages."""
    return {
        "CPU": f"{os.cpu_count()} x {_cpu_model()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average": f"{os.getloadavg()[0]:.1f} in the last minute",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("gunicorn", "flask", "aiohttp", "wechatpy", "requests")},
    }


def as_json(rows: Iterable[Row]) -> str:
    return json.dumps({"machine": machine(), "results": [asdict(row) for row in rows]}, indent=2, ensure_ascii=False)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
