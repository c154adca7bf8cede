"""A memory of every kind for recall: Postgres as it comes, and with pgvector."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vertebra import open_memory
from vertebra.databases import StoreUrl, open_database
from vertebra.memory import HashingEmbedder, Memory


@pytest.fixture
def pgvector_url(postgres_url: str) -> str:
    """A fresh database that compares vectors by itself."""
    database = open_database(StoreUrl.parse(postgres_url))
    database.run_sync(lambda tx: tx.execute("CREATE EXTENSION vector"))
    database.close()
    return postgres_url


@pytest.fixture(params=["memory", "sqlite", "postgres", "pgvector"])
def recall_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", "pgvector"])
def shared_url(request: pytest.FixtureRequest) -> str:
    """Each database that several processes may search."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def memory(recall_url: str) -> Iterator[Memory]:
    with open_memory(recall_url, embedder=HashingEmbedder(64)) as opened:
        yield opened
