"""The published and generated test vectors of tests/data/vectors.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "vectors.json").read_text("utf-8"))


def where(*needed: str, **equal: str) -> pytest.MarkDecorator:
    """Run a test once for every vector that has all of ``needed`` and agrees with ``equal``."""
    chosen = [
        pytest.param(vector, id=vector["id"])
        for vector in VECTORS
        if all(vector.get(name) for name in needed) and all(vector.get(name) == value for name, value in equal.items())
    ]
    assert chosen
    return pytest.mark.parametrize("vector", chosen)
