"""A memory of every kind, each the real thing: plain, and sealed under a key."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from vertebra import open_memory
from vertebra.memory import Memory

KEY = base64.b64encode(bytes(range(32))).decode()
"""Of no worth: it is here for all to read."""


@pytest.fixture(params=[None, KEY], ids=["plain", "sealed"])
def encryption(request: pytest.FixtureRequest) -> str | None:
    """The key of a memory, or none."""
    found: str | None = request.param
    return found


@pytest.fixture
def memory(store_url: str, encryption: str | None) -> Iterator[Memory]:
    with open_memory(store_url, encryption=encryption) as opened:
        yield opened
