"""The OpenAI protocol: reading requests, and answering each endpoint in its shape. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vertebra.testing.chat_answers import chat_answer
from vertebra.testing.embedding_answers import embedding_answer
from vertebra.testing.exchange import Answered, Asked, tokens
from vertebra.testing.multipart import read_form
from vertebra.testing.rendered import Rendered, whole
from vertebra.testing.responses_answers import responses_answer

CHAT, RESPONSES, EMBEDDINGS = "chat/completions", "responses", "embeddings"
TRANSCRIPTIONS, MODELS = "audio/transcriptions", "models"
METHODS = {CHAT: "POST", RESPONSES: "POST", EMBEDDINGS: "POST", TRANSCRIPTIONS: "POST", MODELS: "GET"}


def read_request(path: str, content_type: str, body: bytes) -> Asked:
    """The request as the script sees it. Raises ``ValueError`` for a body that is no JSON object and no form."""
    if content_type.lower().startswith("multipart/form-data"):
        data: Any = read_form(content_type, body)
        return Asked(path, data, _sound(data))
    data = json.loads(body or b"{}")
    if not isinstance(data, dict):
        raise ValueError("the body is no JSON object")
    return Asked(path, data, _prompt(data))


def _sound(data: Mapping[str, Any]) -> str:
    file = data.get("file")
    return f"{file['filename']} ({file['sha256'][:8]})" if isinstance(file, dict) else str(file or "")


def _prompt(data: Mapping[str, Any]) -> str:
    """The last user message of a conversation; else its last turn, or the input as it is."""
    turns = data.get("messages", data.get("input", ""))
    if isinstance(turns, list):
        from_user = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"]
        if not from_user and all(isinstance(turn, str) for turn in turns):
            return "\n".join(turns)
        last = (from_user or turns or [""])[-1]
        turns = last.get("content", last.get("output", "")) if isinstance(last, dict) else last
    if isinstance(turns, list):
        return " ".join(str(part["text"]) for part in turns if isinstance(part, dict) and "text" in part)
    return "" if turns is None else str(turns)


def render(asked: Asked, answer: Answered) -> Rendered:
    """The successful response to a request, in the shape of its endpoint. Raises ``KeyError`` for an unknown one."""
    if answer.fault == "too_large":
        answer = replace(answer, text="x" * answer.size_bytes)
    match asked.endpoint:
        case "chat/completions":
            return chat_answer(asked, answer)
        case "responses":
            return responses_answer(asked, answer)
        case "embeddings":
            return embedding_answer(asked)
        case "audio/transcriptions":
            return _transcription(asked, answer.text)
        case "models":
            return whole({"object": "list", "data": [_model("scripted")]}, 0, 0)
    raise KeyError(asked.endpoint)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "vertebra"}


def _transcription(asked: Asked, text: str) -> Rendered:
    spent, made = asked.input_tokens, tokens(text)
    form = asked.body.get("response_format", "json")
    if form == "text":
        return Rendered("text/plain; charset=utf-8", (f"{text}\n".encode(),), spent, made)
    if form == "verbose_json":
        segment = {"id": 0, "start": 0.0, "end": 1.0, "text": text, "seek": 0, "tokens": [], "temperature": 0.0}
        measures = {"avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}
        told = {"task": "transcribe", "language": "english", "duration": 1.0, "text": text}
        return whole({**told, "segments": [{**segment, **measures}]}, spent, made)
    details = {"audio_tokens": spent, "text_tokens": 0}
    counted = {"input_tokens": spent, "output_tokens": made, "total_tokens": spent + made}
    return whole({"text": text, "usage": {"type": "tokens", **counted, "input_token_details": details}}, spent, made)


def error_body(status: int, message: str | None = None) -> bytes:
    """An error as the provider words it."""
    said = message or f"scripted failure {status}"
    return json.dumps({"error": {"message": said, "type": "scripted", "param": None, "code": None}}).encode()
