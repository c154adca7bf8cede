"""Answers of ``/v1/responses``, whole and streamed. Pure."""

from __future__ import annotations

import json
from typing import Any

from vertebra.testing.exchange import Answered, Asked, tokens
from vertebra.testing.rendered import CREATED, Rendered, event, events, limited, pieces, whole


def responses_answer(asked: Asked, answer: Answered) -> Rendered:
    """The response. ``max_output_tokens`` cuts a text and leaves the response ``incomplete``."""
    text, is_cut = limited(answer.text, asked.body.get("max_output_tokens"))
    items = _calls(asked, answer) or [_message(answer.named("msg_", asked), text, is_cut)]
    made = tokens(text) + sum(tokens(item.get("arguments", "")) for item in items)
    body = _response(asked, answer, items, made, is_cut)
    if asked.body.get("stream"):
        return events(_events(body), asked.input_tokens, made)
    return whole(body, asked.input_tokens, made)


def _message(name: str, text: str, is_cut: bool) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    status = "incomplete" if is_cut else "completed"
    return {"id": name, "type": "message", "role": "assistant", "status": status, "content": [part]}


def _calls(asked: Asked, answer: Answered) -> list[dict[str, Any]]:
    name = answer.named("", asked)
    return [
        {
            "id": f"fc_{name}_{n}",
            "call_id": f"call_{name}_{n}",
            "type": "function_call",
            "status": "completed",
            "name": tool,
            "arguments": json.dumps(arguments),
        }
        for n, (tool, arguments) in enumerate(answer.tool_calls)
    ]


def _response(asked: Asked, answer: Answered, items: list[dict[str, Any]], made: int, is_cut: bool) -> dict[str, Any]:
    spent = asked.input_tokens
    return {
        "id": answer.named("resp_", asked),
        "object": "response",
        "created_at": CREATED,
        "model": asked.model or "scripted",
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "error": None,
        "instructions": asked.body.get("instructions"),
        "metadata": asked.body.get("metadata") or {},
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": asked.body.get("previous_response_id"),
        "text": asked.body.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.body.get("tool_choice") or "auto",
        "tools": asked.body.get("tools") or [],
        "usage": {
            "input_tokens": spent,
            "output_tokens": made,
            "total_tokens": spent + made,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _events(body: dict[str, Any]) -> list[bytes]:
    started = {**body, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    happened: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
    ]
    for index, item in enumerate(body["output"]):
        happened += _text_events(index, item) if item["type"] == "message" else _call_events(index, item)
        happened.append({"type": "response.output_item.done", "output_index": index, "item": item})
    happened.append({"type": f"response.{body['status']}", "response": body})
    return [event({**one, "sequence_number": n}, one["type"]) for n, one in enumerate(happened)]


def _text_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    part = item["content"][0]
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *(
            {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
            for piece in pieces(part["text"])
        ),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def _call_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress", "arguments": ""}
    prefix = "response.function_call_arguments"
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *({"type": f"{prefix}.delta", **place, "delta": piece} for piece in pieces(item["arguments"])),
        {"type": f"{prefix}.done", **place, "arguments": item["arguments"], "name": item["name"]},
    ]
