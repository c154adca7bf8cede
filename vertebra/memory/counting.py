"""How many tokens a message is: estimated, offline, or counted by an encoding that the caller has."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from vertebra.memory.messages import ChatMessage

TokenCounter = Callable[[ChatMessage], int]
"""Tokens of one message, with what the API puts around it."""

BYTES_A_TOKEN = 4
AROUND = 4
"""Tokens around each message: who speaks, where it ends."""
OTHER_PART = 800
"""An image, a sound, a file: its own tokens are the provider's secret."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """A token for each four bytes of UTF-8, times ``factor``.

    Example::

        count = Estimator.calibrated([("chat/completions request as JSON", 512)])
    """

    factor: float = 1.0

    def __call__(self, chat: ChatMessage) -> int:
        return math.ceil(self.factor * _rough(chat.to_openai()))

    @classmethod
    def calibrated(cls, calls: Iterable[tuple[str, int]]) -> Estimator:
        """By what calls really took: each request, as the journal keeps it, with its input tokens.

        Requests that hold no messages are left out. Within 0.25 and 4, so that one strange call does no harm.
        """
        rough = real = 0.0
        for text, tokens in calls:
            guess = sum(_rough(message) for message in _messages_of(text))
            if guess and tokens > 0:
                rough, real = rough + guess, real + tokens
        return cls(min(max(real / rough, 0.25), 4.0) if rough else 1.0)


def encoded(encode: Callable[[str], Sized]) -> TokenCounter:
    """Count by an encoding: what makes tokens of a text, such as a tokenizer's ``encode``.

    Of tiktoken's see ``tiktoken_counter``, which downloads nothing.
    """

    def count(chat: ChatMessage) -> int:
        texts, others = _contents(chat.to_openai())
        return AROUND + OTHER_PART * others + sum(len(encode(text)) for text in texts)

    return count


def _rough(message: dict[str, Any]) -> float:
    texts, others = _contents(message)
    return AROUND + OTHER_PART * others + sum(len(text.encode()) for text in texts) / BYTES_A_TOKEN


def _contents(message: dict[str, Any]) -> tuple[list[str], int]:
    """The texts of a message, and how many other parts it has."""
    content, others = message.get("content"), 0
    texts = [content] if isinstance(content, str) else []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            others += 1
    for key in ("tool_calls", "name", "tool_call_id", "refusal", "function_call"):
        if message.get(key):
            texts.append(message[key] if isinstance(message[key], str) else json.dumps(message[key]))
    return texts, others


def _messages_of(request: str) -> Sequence[dict[str, Any]]:
    try:
        data = json.loads(request)
    except ValueError:
        return ()
    found = data.get("messages") if isinstance(data, dict) else None
    return [message for message in found if isinstance(message, dict)] if isinstance(found, list) else ()
