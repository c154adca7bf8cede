"""What makes two requests the same: method, logical endpoint and content; never host, headers or boundary. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

KEPT_REQUEST_BYTES = 1_000_000
"""Longer requests are kept in the journal as their digest alone."""

_ENDPOINTS = re.compile(r"/((?:chat/)?completions|responses|embeddings|moderations|images/\w+|audio/\w+|models)/?$")


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller's own request, reduced to what identifies it. ``text`` is what the journal keeps of it."""

    hash: str
    endpoint: str
    model: str | None
    text: str
    kind: Literal["llm", "http"]
    streams: bool


def identify(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Identity:
    """Reduce a request. JSON is canonicalised; multipart bodies are read into their parts."""
    parts = urlsplit(url)
    endpoint = logical_endpoint(parts.path)
    content, model, streams = canonical_body(headers.get("content-type", ""), body)
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    text = _dumps(content)
    digest = hashlib.sha256("\x1f".join((method.upper(), endpoint, _dumps(query), text)).encode()).hexdigest()
    kept = text if len(text) <= KEPT_REQUEST_BYTES else _dumps({"sha256": _sha(text.encode()), "size": len(text)})
    known = endpoint != parts.path
    return Identity(digest[:32], f"{method.upper()} {endpoint}", model, kept, "llm" if known else "http", streams)


def logical_endpoint(path: str) -> str:
    """``chat/completions`` for ``/v1/chat/completions`` and for ``/openai/v1/chat/completions`` alike."""
    found = _ENDPOINTS.search(path)
    return found.group(1) if found else path


def canonical_body(content_type: str, body: bytes) -> tuple[Any, str | None, bool]:
    """The body as plain data, with the model it names and whether it asks for a stream."""
    if not body:
        return None, None, False
    kind = content_type.split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        parts = multipart(content_type, body)
        fields = {part["name"]: part.get("text") for part in parts}
        return {"multipart": parts}, fields.get("model"), fields.get("stream") == "true"
    try:
        data = json.loads(body)
    except ValueError:
        return {"sha256": _sha(body), "size": len(body)}, None, False
    if isinstance(data, dict):
        model = data.get("model")
        return data, model if isinstance(model, str) else None, data.get("stream") is True
    return data, None, False


def multipart(content_type: str, body: bytes) -> list[dict[str, Any]]:
    """The parts of a form: small text fields as they are, files as name, size and digest."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        return [{"name": "", "sha256": _sha(body), "size": len(body)}]
    parts = []
    for chunk in body.split(b"--" + found.group(1).encode())[1:-1]:
        head, _, content = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        content = content.removesuffix(b"\r\n")
        headers = head.decode("utf-8", "replace")
        name = _parameter(headers, "name")
        filename = _parameter(headers, "filename")
        part: dict[str, Any] = {"name": name or ""}
        if filename is None and len(content) <= 4096:
            part["text"] = content.decode("utf-8", "replace")
        else:
            part |= {"sha256": _sha(content), "size": len(content)}
            if filename is not None:
                part["filename"] = filename
        parts.append(part)
    return parts


def identify_effect(name: str, args: Any) -> Identity:
    """The identity of an effect: its name, and its arguments as JSON."""
    text = _dumps(args)
    digest = hashlib.sha256(f"effect\x1f{name}\x1f{text}".encode()).hexdigest()
    kept = text if len(text) <= KEPT_REQUEST_BYTES else _dumps({"sha256": _sha(text.encode()), "size": len(text)})
    return Identity(digest[:32], f"effect {name}", None, kept, "http", False)


def _parameter(headers: str, name: str) -> str | None:
    found = re.search(rf'[;\s]{name}="((?:[^"\\]|\\.)*)"', headers)
    return found.group(1) if found else None


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def json_text(value: Any, **options: Any) -> str:
    """The value as JSON that has an encoding: escaped, where half of a surrogate pair is in it, else as it is."""
    text = json.dumps(value, ensure_ascii=False, **options)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, **options)
    return text


def _dumps(value: Any) -> str:
    return json_text(value, sort_keys=True, separators=(",", ":"))
