"""How much property tests try: the usual, or what a release is worth (``make test-deep``)."""

from __future__ import annotations

import os

SWITCH = "TEST_DEPTH"
"""An environment variable. ``deep``: many more examples, and every pair of stores."""
DEEP = os.environ.get(SWITCH) == "deep"

EXAMPLES = 500 if DEEP else 30
"""How many examples a property gets that does not say it itself."""


def examples(usual: int, deep: int) -> int:
    """Return how many examples a property gets that is slow or rich."""
    return deep if DEEP else usual
