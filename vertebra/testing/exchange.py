"""One exchange with a scripted model: what is asked, and what is to be answered. Pure data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Fault = Literal["status", "hang", "cut", "bad_json", "too_large"]


def canonical(value: Any) -> str:
    """A JSON value in the one text that equal values share: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def tokens(text: str) -> int:
    """Tokens of a text as scripted models count them: a quarter of its characters, rounded up."""
    return math.ceil(len(text) / 4)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as rules see it. ``prompt`` is the text of the last user message or input.

    Of a multipart request, ``body`` has the fields; a file is its name, type, size and hash.
    """

    path: str
    body: Mapping[str, Any]
    prompt: str

    @property
    def endpoint(self) -> str:
        """The path after ``/v1/``, such as ``chat/completions``."""
        return self.path.rpartition("/v1/")[2].strip("/")

    @property
    def model(self) -> str | None:
        model = self.body.get("model")
        return model if isinstance(model, str) else None

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the path and the canonical JSON of the request."""
        return hashlib.sha256(f"{self.path}\n{canonical(self.body)}".encode()).hexdigest()[:16]

    @property
    def input_tokens(self) -> int:
        """What the request is billed for: the tokens of its canonical JSON."""
        return tokens(canonical(self.body))


@dataclass(frozen=True, slots=True)
class Answered:
    """What to answer: a text, tool calls, or a fault; after a delay in seconds.

    ``number`` makes the answer unlike every other (``sampled=True``); None leaves it the same each time.
    """

    text: str = ""
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    fault: Fault | None = None
    status: int = 200
    retry_after_s: float | None = None
    after_chunks: int = 1
    size_bytes: int = 0
    delay_s: float = 0.0
    number: int | None = None

    @property
    def is_paid(self) -> bool:
        """Whether the model does its work, so that a provider would bill it."""
        return self.fault not in ("status", "hang")

    def named(self, prefix: str, asked: Asked) -> str:
        """An id for this answer: the same for the same answer to the same request."""
        said = canonical([asked.digest, self.text, self.tool_calls, self.number])
        return f"{prefix}{hashlib.sha256(said.encode()).hexdigest()[:16]}"
