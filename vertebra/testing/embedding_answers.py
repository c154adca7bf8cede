"""Answers of ``/v1/embeddings``. Pure."""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from vertebra.testing.exchange import Asked, canonical, tokens
from vertebra.testing.rendered import Rendered, whole

DIMENSIONS = 8


def embedding_answer(asked: Asked) -> Rendered:
    """A vector for each input, in order; as base64 of float32 where that is asked for, as the client does."""
    given = asked.body.get("input", "")
    inputs = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    texts = [item if isinstance(item, str) else canonical(item) for item in inputs]
    spent = sum(tokens(text) for text in texts)
    data = [{"object": "embedding", "index": n, "embedding": _coded(asked.body, t)} for n, t in enumerate(texts)]
    usage = {"prompt_tokens": spent, "total_tokens": spent}
    model = asked.model or "scripted"
    return whole({"object": "list", "data": data, "model": model, "usage": usage}, spent, 0)


def _coded(body: Mapping[str, Any], text: str) -> list[float] | str:
    vector = array("f", unit_vector(text, int(body.get("dimensions") or DIMENSIONS)))
    if body.get("encoding_format") != "base64":
        return vector.tolist()
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 that depends on the text alone."""
    digest = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    numbers = [int.from_bytes(digest[2 * n : 2 * n + 2]) - 32767.5 for n in range(dimensions)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]
