"""A call in a line: what was asked and what was answered, without the wrapping of the protocol. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MALFORMED = (AttributeError, IndexError, KeyError, TypeError)
"""What looks like a known protocol and is not."""


def asked(request: str | None) -> str:
    """The last thing said in a request; the request itself where it is of no known kind."""
    try:
        return _asked(_json(request or "")) or request or ""
    except MALFORMED:
        return request or ""


def _asked(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    given = data.get("messages", data.get("input", data.get("prompt")))
    if isinstance(given, list) and given and isinstance(given[-1], dict):
        given = given[-1].get("content", given[-1].get("output"))
    return _text(given)


def answered(body: bytes) -> str:
    """The text of an answer, or the tools that it calls; the body itself where it is of no known kind."""
    text = body.decode("utf-8", "replace")
    try:
        return "".join(_piece(event) for event in _events(text)) or _answered(_json(text)) or text
    except MALFORMED:
        return text


def _answered(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    if data.get("choices"):
        return _message(data["choices"][0].get("message") or {})
    if data.get("output"):
        return " ".join(_item(item) for item in data["output"]).strip()
    if data.get("data") and "embedding" in data["data"][0]:
        many = len(data["data"])
        return f"{many} embedding{'s' if many > 1 else ''} of {len(data['data'][0]['embedding'])}"
    return _text(data.get("text"))


def _message(message: dict[str, Any]) -> str:
    calls = [call.get("function") or {} for call in message.get("tool_calls") or []]
    told = [f"{call.get('name')}({call.get('arguments')})" for call in calls]
    return " ".join(part for part in (_text(message.get("content")), *told) if part)


def _item(item: dict[str, Any]) -> str:
    if item.get("type") == "function_call":
        return f"{item.get('name')}({item.get('arguments')})"
    return _text(item.get("content"))


def _piece(event: Any) -> str:
    """What one event of a stream adds: of chat completions, or of responses."""
    if not isinstance(event, dict):
        return ""
    if str(event.get("type", "")).endswith(".delta"):
        return _text(event.get("delta"))
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    calls = [call.get("function") or {} for call in delta.get("tool_calls") or []]
    told = [f"{call.get('name') or ''}{call.get('arguments') or ''}" for call in calls]
    return _text(delta.get("content")) + "".join(told)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(_text(part.get("text", part.get("type")) if isinstance(part, dict) else part) for part in value)
    return "" if value is None or isinstance(value, dict) else str(value)


def _events(text: str) -> Iterator[Any]:
    if not text.lstrip().startswith(("data:", "event:")):
        return
    for line in text.splitlines():
        if line.startswith("data:") and line != "data: [DONE]":
            yield _json(line[5:])


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def schema(given: Any) -> str:
    """A JSON Schema in a line, such as ``{"ok": boolean, "remark": string?}``."""
    if not isinstance(given, dict):
        return "anything"
    if "enum" in given:
        return " or ".join(json.dumps(value) for value in given["enum"])
    kind = given.get("type")
    if kind == "object" and given.get("properties"):
        required = set(given.get("required", ()))
        fields = given["properties"].items()
        inner = (f'"{name}": {schema(field)}{"" if name in required else "?"}' for name, field in fields)
        return f"{{{', '.join(inner)}}}"
    if kind == "array":
        return f"[{schema(given.get('items'))}, ...]"
    if "anyOf" in given:
        return " or ".join(schema(one) for one in given["anyOf"])
    return str(kind or given.get("title") or str(given.get("$ref", "anything")).rpartition("/")[2])
