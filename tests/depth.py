"""The number of examples of property tests: the usual number, or many more before a release (TEST_DEPTH=deep)."""

from __future__ import annotations

import os

SWITCH = "TEST_DEPTH"
"""The environment variable. ``deep``: many more examples, and every pair of stores."""
DEEP = os.environ.get(SWITCH) == "deep"

EXAMPLES = 500 if DEEP else 30
"""The default number of examples of a property test."""


def examples(usual: int, deep: int) -> int:
    """Return the number of examples of a property test: ``deep`` if TEST_DEPTH=deep, else ``usual``."""
    return deep if DEEP else usual
