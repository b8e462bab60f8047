"""Run axe-core, which finds accessibility problems of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_RUN = "() => axe.run(document, {resultTypes: ['violations']})"


def violations(page: Page) -> list[str]:
    """Return the problems that axe finds on the page, one line for each element."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_script().read_text(encoding="utf-8"))
    return list(_lines(page.evaluate(_RUN)))


def _script() -> Path:
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("axe.min.js")


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for violation in found["violations"]:
        for node in violation["nodes"]:
            place = " ".join(str(step) for step in node["target"])
            why = "; ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])
            yield f"{violation['id']} ({node['impact']}) at {place}: {why or violation['help']}"
