"""The model of the tests in this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vertebra.testing import ScriptedModel


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    """One that never gives the same answer twice, where the official client looks for it."""
    with ScriptedModel(sampled=True) as model:
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        yield model
