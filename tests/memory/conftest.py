"""A memory of every kind, each the real thing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vertebra import open_memory
from vertebra.memory import Memory


@pytest.fixture
def memory(store_url: str) -> Iterator[Memory]:
    with open_memory(store_url) as opened:
        yield opened
