"""The pytest plugin: fixtures for tests of agents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vertebra.testing import ScriptedModel, VirtualClock


@pytest.fixture
def scripted_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    """A scripted model that the official client finds by its environment."""
    from vertebra.testing import ScriptedModel

    with ScriptedModel() as model:
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        yield model


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock on which waiting takes no time: pass it as ``compile(clock=...)``."""
    from vertebra.testing import VirtualClock

    return VirtualClock()
