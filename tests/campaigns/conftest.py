"""What the crash campaign stands on: one preloaded parent a worker, and a store of each kind to kill in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.campaigns.killing import Killer, Unkilled
from tests.servers.postgres import fresh_database
from tests.servers.preloaded import Preloaded


@pytest.fixture(scope="session")
def preloaded() -> Iterator[Preloaded]:
    """The parent that children are forked from."""
    with Preloaded() as parent:
        yield parent


@pytest.fixture(scope="session")
def sqlite_killer(preloaded: Preloaded) -> tuple[Killer, Unkilled]:
    """In a fresh file for each run."""
    killer = Killer(preloaded, "")
    return killer, killer.unkilled()


@pytest.fixture(scope="session")
def postgres_killer(preloaded: Preloaded, postgres_server: str) -> Iterator[tuple[Killer, Unkilled]]:
    """In one database, a thread for each run."""
    with fresh_database(postgres_server) as url:
        killer = Killer(preloaded, url)
        yield killer, killer.unkilled()
