"""Embedders: what turns texts into vectors, behind one small protocol."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

from vertebra.errors import EmbeddingInvalid, MissingExtra, UsageError
from vertebra.memory.recall.terms import terms_of


class Embedder(Protocol):
    """What turns texts into vectors. Called on a thread; never by an append.

    ``name``: two embedders of one name give comparable vectors: let it say model, version and dimensions.
    ``dimensions``: the length of each vector.
    """

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector for each text, in their order; of any length but zero, since only directions are compared."""


class HashingEmbedder:
    """For tests: each term adds one to a place that its hash chooses. No model; it knows words, not meanings.

    Deterministic on every machine. Weinberger et al., "Feature hashing for large scale multitask learning" (2009).

    Example::

        with open_memory("memory://", embedder=HashingEmbedder()) as memory:
            ...
    """

    def __init__(self, dimensions: int = 256) -> None:
        if dimensions < 1:
            raise UsageError(f"dimensions={dimensions} is no length of a vector.", remedy="pass 1 or more.")
        self.dimensions = dimensions
        self.name = f"hashing-{dimensions}"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text; zeros for one without words."""
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.0] * self.dimensions
        for term in terms_of(text):
            digest = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "big")
            vector[(digest >> 1) % self.dimensions] += 1.0 if digest & 1 else -1.0
        return vector


def numpy() -> Any:
    """numpy, loaded when vectors are first used. Raises ``MissingExtra``."""
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise MissingExtra(
            "Recall by vectors needs numpy.", remedy="pip install 'vertebra[recall]'", extra="recall"
        ) from error


def unit_vectors(embedder: Embedder, texts: Sequence[str]) -> Any:
    """What the embedder gives for these texts, as rows of length one. Raises ``EmbeddingInvalid`` for anything else."""
    np = numpy()
    given = embedder.embed(texts)
    try:
        rows = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingInvalid(f"Embedder {embedder.name!r} gave no vectors: {error}.") from None
    if rows.shape != (len(texts), embedder.dimensions):
        raise EmbeddingInvalid(
            f"Embedder {embedder.name!r} gave an array of shape {rows.shape} for {len(texts)} texts "
            f"and {embedder.dimensions} dimensions.",
            embedder=embedder.name,
        )
    if not np.isfinite(rows).all():
        raise EmbeddingInvalid(f"Embedder {embedder.name!r} gave NaN or infinity.", embedder=embedder.name)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
