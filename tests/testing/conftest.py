"""The official clients, speaking to a scripted model of this test."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from vertebra.testing import ScriptedModel


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def client(model: ScriptedModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=model.base_url, api_key="test", max_retries=0, timeout=10) as client:
        yield client
