"""A successful response, ready to send: whole or as server-sent events. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.testing.exchange import tokens

PIECE = 12
"""Characters in one streamed piece of text."""
CREATED = 1_700_000_000
"""The time in every answer, in seconds since 1970: fixed, so that equal answers are equal to the byte."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A response: its chunks (one unless it streams), and the tokens it is billed for."""

    content_type: str
    chunks: tuple[bytes, ...]
    input_tokens: int
    output_tokens: int
    streams: bool = False


def whole(value: Any, input_tokens: int, output_tokens: int) -> Rendered:
    """A JSON body."""
    return Rendered("application/json", (json.dumps(value).encode(),), input_tokens, output_tokens)


def events(chunks: Sequence[bytes], input_tokens: int, output_tokens: int) -> Rendered:
    """A stream of server-sent events, one a chunk."""
    return Rendered("text/event-stream", tuple(chunks), input_tokens, output_tokens, streams=True)


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def pieces(text: str) -> list[str]:
    """The text as a stream brings it."""
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)]


def limited(text: str, max_tokens: Any) -> tuple[str, bool]:
    """The text within a limit of tokens, and whether that cut it short."""
    if not isinstance(max_tokens, int) or tokens(text) <= max_tokens:
        return text, False
    return text[: 4 * max_tokens], True
