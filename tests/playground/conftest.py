"""Fixtures for tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.playground.page_support import PageClient, client_for
from wxbot.playground.session import AccountChoice
from wxbot.testing import User


@pytest.fixture
def client(tmp_path: Path) -> Iterator[PageClient]:
    """Yield a client of the page of a Mini Program with plaintext pushes. Its bot echoes."""
    with client_for(tmp_path) as client:
        yield client


@pytest.fixture
def alice(client: PageClient) -> User:
    return client.adds("alice")


@pytest.fixture
def official(tmp_path: Path) -> Iterator[PageClient]:
    """Yield a client of the page of an Official Account, with the user alice."""
    with client_for(tmp_path, choice=AccountChoice("official", "plain", "xml")) as client:
        client.adds("alice")
        yield client
