"""The OpenAI protocol in bytes: reading requests, writing answers and event streams. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vertebra.testing.script import Answered, Asked

PIECE = 12
"""Characters in one streamed piece of text."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A response: its chunks (one unless it streams), and what it is billed for."""

    content_type: str
    chunks: tuple[bytes, ...]
    input_tokens: int
    output_tokens: int


def tokens(text: str) -> int:
    """Tokens of a text as this model counts them: a quarter of its characters, rounded up."""
    return math.ceil(len(text) / 4)


def read_request(path: str, content_type: str, body: bytes) -> Asked:
    """The request as the script sees it. Raises ``ValueError`` for a body that is no JSON object."""
    if content_type.startswith("multipart/form-data"):
        data: dict[str, Any] = _multipart(content_type, body)
        return Asked(path, data, str(data.get("file", "")))
    data = json.loads(body or b"{}")
    if not isinstance(data, dict):
        raise ValueError("the body is no JSON object")
    return Asked(path, data, _prompt(data))


def _prompt(data: Mapping[str, Any]) -> str:
    turns = data.get("messages", data.get("input", ""))
    if isinstance(turns, list):
        asked = [t for t in turns if isinstance(t, dict) and t.get("role") == "user"] or turns[-1:]
        turns = asked[-1].get("content", "") if asked and isinstance(asked[-1], dict) else "".join(map(str, asked))
    if isinstance(turns, list):
        return " ".join(str(part.get("text", "")) for part in turns if isinstance(part, dict))
    return str(turns)


def _multipart(content_type: str, body: bytes) -> dict[str, Any]:
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    fields: dict[str, Any] = {}
    for chunk in body.split(b"--" + found.group(1).encode())[1:-1] if found else []:
        head, _, content = chunk.strip(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name is None:
            continue
        is_file = b"filename=" in head
        value = hashlib.sha256(content).hexdigest()[:16] if is_file else content.decode("utf-8", "replace")
        fields[name.group(1).decode()] = value
    return fields


def render(asked: Asked, answer: Answered, number: int) -> Rendered:
    """The successful response to a request, in the shape of its endpoint."""
    endpoint = asked.path.rpartition("/v1/")[2].strip("/")
    text = "x" * answer.size_bytes if answer.fault == "too_large" else answer.text
    spent = tokens(json.dumps(asked.body))
    if endpoint == "embeddings":
        return _json(_embeddings(asked, spent), spent, 0)
    if endpoint == "audio/transcriptions":
        return _json({"text": text}, spent, tokens(text))
    if endpoint == "models":
        return _json({"object": "list", "data": [{"id": "scripted", "object": "model"}]}, 0, 0)
    if endpoint == "responses":
        body = _response(asked, text, number, spent)
        return _response_events(body, text, spent) if asked.body.get("stream") else _json(body, spent, tokens(text))
    if asked.body.get("stream"):
        return _chat_events(asked, answer, text, number, spent)
    return _json(_chat(asked, answer, text, number, spent), spent, tokens(text))


def _json(value: Any, spent: int, made: int) -> Rendered:
    return Rendered("application/json", (json.dumps(value).encode(),), spent, made)


def _usage(spent: int, text: str) -> dict[str, int]:
    made = tokens(text)
    return {"prompt_tokens": spent, "completion_tokens": made, "total_tokens": spent + made}


def _tool_calls(answer: Answered) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for n, (name, arguments) in enumerate(answer.tool_calls)
    ]


def _chat(asked: Asked, answer: Answered, text: str, number: int, spent: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = _tool_calls(answer)
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": asked.body.get("model", "scripted"),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if answer.tool_calls else "stop"}],
        "usage": _usage(spent, text),
    }


def _pieces(text: str) -> list[str]:
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)] or [""]


def _chat_events(asked: Asked, answer: Answered, text: str, number: int, spent: int) -> Rendered:
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": asked.body.get("model", "scripted"),
    }
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if answer.tool_calls:
        deltas.append({"tool_calls": [{"index": n, **call} for n, call in enumerate(_tool_calls(answer))]})
    else:
        deltas += [{"content": piece} for piece in _pieces(text)]
    events = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "tool_calls" if answer.tool_calls else "stop"
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        events.append({**head, "choices": [], "usage": _usage(spent, text)})
    chunks = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    return Rendered("text/event-stream", (*chunks, b"data: [DONE]\n\n"), spent, tokens(text))


def _response(asked: Asked, text: str, number: int, spent: int) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    made = tokens(text)
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": asked.body.get("model", "scripted"),
        "status": "completed",
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": spent,
            "output_tokens": made,
            "total_tokens": spent + made,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _response_events(body: dict[str, Any], text: str, spent: int) -> Rendered:
    message = body["output"][0]
    part = message["content"][0]
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    started = {**body, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**message, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": p, "logprobs": []} for p in _pieces(text)),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": body},
    ]
    chunks = tuple(
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': n})}\n\n".encode()
        for n, event in enumerate(events)
    )
    return Rendered("text/event-stream", chunks, spent, tokens(text))


def _embeddings(asked: Asked, spent: int) -> dict[str, Any]:
    given = asked.body.get("input", "")
    texts = given if isinstance(given, list) else [given]
    data = [{"object": "embedding", "index": n, "embedding": _vector(str(text))} for n, text in enumerate(texts)]
    usage = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "data": data, "model": asked.body.get("model", "scripted"), "usage": usage}


def _vector(text: str, size: int = 8) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 255 for byte in digest[:size]]


def error_body(status: int) -> bytes:
    """An error as the provider words it."""
    return json.dumps({"error": {"message": f"scripted failure {status}", "type": "scripted", "code": None}}).encode()
