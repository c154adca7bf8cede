"""Answers of ``/v1/chat/completions``, whole and streamed. Pure."""

from __future__ import annotations

import json
from typing import Any

from vertebra.testing.exchange import Answered, Asked, tokens
from vertebra.testing.rendered import CREATED, Rendered, event, events, limited, pieces, whole


def chat_answer(asked: Asked, answer: Answered) -> Rendered:
    """The completion. ``max_completion_tokens`` (or ``max_tokens``) cuts a text, with finish reason ``length``."""
    limit = asked.body.get("max_completion_tokens") or asked.body.get("max_tokens")
    text, is_cut = limited(answer.text, limit)
    calls = _tool_calls(asked, answer)
    reason = "tool_calls" if calls else "length" if is_cut else "stop"
    made = sum(tokens(call["function"]["arguments"]) for call in calls) + tokens(text)
    spent = asked.input_tokens
    usage = {
        "prompt_tokens": spent,
        "completion_tokens": made,
        "total_tokens": spent + made,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    head: dict[str, Any] = {"id": answer.named("chatcmpl-", asked), "created": CREATED}
    head["model"] = asked.model or "scripted"
    if asked.body.get("stream"):
        return events(_events(asked, head, text, calls, reason, usage), spent, made)
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage}, spent, made)


def _tool_calls(asked: Asked, answer: Answered) -> list[dict[str, Any]]:
    name = answer.named("call_", asked)
    return [
        {"id": f"{name}_{n}", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
        for n, (tool, arguments) in enumerate(answer.tool_calls)
    ]


def _events(
    asked: Asked, head: dict[str, Any], text: str, calls: list[dict[str, Any]], reason: str, usage: dict[str, Any]
) -> list[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if calls else "", "refusal": None}]
    deltas += [{"content": piece} for piece in pieces(text)]
    for index, call in enumerate(calls):
        function = call["function"]
        deltas.append({"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in pieces(function["arguments"])
        ]
    with_usage = bool((asked.body.get("stream_options") or {}).get("include_usage"))
    head = {**head, "object": "chat.completion.chunk"}
    if with_usage:
        head["usage"] = None
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": reason})
    sent = [event({**head, "choices": [choice]}) for choice in choices]
    if with_usage:
        sent.append(event({**head, "choices": [], "usage": usage}))
    return [*sent, b"data: [DONE]\n\n"]
