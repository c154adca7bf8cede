"""What an answer says about itself: whether it is complete, its tokens, its text as it streams. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEPT_HEADERS = frozenset({"content-type", "x-request-id", "openai-processing-ms", "openai-version"})
"""Response headers that the journal keeps. None of them can carry a secret."""

_LAST_TYPES = frozenset({"response.completed", "response.incomplete", "message_stop", "transcript.text.done"})
_FAILED_TYPES = frozenset({"response.failed", "error"})


def usage_of(data: Any) -> tuple[int | None, int | None]:
    """Input and output tokens as the provider reports them; None where it says nothing."""
    if not isinstance(data, Mapping):
        return None, None
    usage = data.get("usage")
    if not isinstance(usage, Mapping):
        inner = data.get("response")
        return usage_of(inner) if isinstance(inner, Mapping) else (None, None)
    return (
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def kept_headers(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers that are recorded with an answer."""
    return tuple((k.lower(), v) for k, v in headers if k.lower() in KEPT_HEADERS)


def is_json(content_type: str) -> bool:
    kind = content_type.split(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def is_event_stream(content_type: str) -> bool:
    return content_type.split(";")[0].strip().lower() == "text/event-stream"


@dataclass(slots=True)
class StreamWatch:
    """Follows a server-sent event stream as its bytes go by, without changing them."""

    ended: bool = False
    """The protocol's last event has come."""
    failed: str | None = None
    """The provider reported an error within the stream."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes; returns the pieces of text that they carry."""
        self._buffer += chunk
        texts = []
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            if line.startswith(b"data:"):
                text = self._event(line[5:].strip())
                if text:
                    texts.append(text)
        return texts

    def _event(self, data: bytes) -> str | None:
        if data == b"[DONE]":
            self.ended = True
            return None
        try:
            event = json.loads(data)
        except ValueError:
            return None
        if not isinstance(event, dict):
            return None
        tokens_in, tokens_out = usage_of(event)
        self.input_tokens = tokens_in if tokens_in is not None else self.input_tokens
        self.output_tokens = tokens_out if tokens_out is not None else self.output_tokens
        kind = event.get("type")
        if kind in _LAST_TYPES:
            self.ended = True
        if kind in _FAILED_TYPES or event.get("error"):
            self.failed = str(kind or "error")
        return _text_of(event)


def _text_of(event: Mapping[str, Any]) -> str | None:
    if event.get("type") in ("response.output_text.delta", "transcript.text.delta"):
        delta = event.get("delta")
        return delta if isinstance(delta, str) else None
    choices = event.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        delta = choices[0].get("delta")
        content = delta.get("content") if isinstance(delta, dict) else None
        return content if isinstance(content, str) else None
    return None


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the provider asks to wait (RFC 9110 section 10.2.3: seconds or a date)."""
    from email.utils import mktime_tz, parsedate_tz

    milliseconds = headers.get("retry-after-ms")
    text = headers.get("retry-after", "")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(text))
    except ValueError:
        date = parsedate_tz(text)
        return None if date is None else max(0.0, mktime_tz(date) - now)
