"""What counts as a message: the shape of OpenAI's API, kept without loss, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from vertebra import open_memory
from vertebra.errors import MessageInvalid
from vertebra.memory.messages import read_message

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}
GOOD: dict[str, dict[str, Any]] = {
    "a text": {"role": "user", "content": "He coughs."},
    "an empty text": {"role": "user", "content": ""},
    "a name": {"role": "system", "content": "Be brief.", "name": "house"},
    "a developer": {"role": "developer", "content": "Be brief."},
    "parts": {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "file", "file": {"file_id": "f"}},
            {"type": "video_url", "video_url": {"url": "of another provider", "fps": 1.5, "cut": None}},
        ],
    },
    "tool calls": {"role": "assistant", "tool_calls": [CALL]},
    "text and tool calls": {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
    "a custom tool": {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"input": "x"}}]},
    "a refusal": {"role": "assistant", "refusal": "No."},
    "a sound": {"role": "assistant", "audio": {"id": "a"}},
    "a tool's answer": {"role": "tool", "content": "[1, 2]", "tool_call_id": "call_1"},
    "a provider's own field": {"role": "assistant", "content": "4", "reasoning_content": "2 and 2", "n": [1, {"a": 2}]},
}
BAD: dict[str, Any] = {
    "no mapping": "He coughs.",
    "no role": {"content": "a"},
    "an unknown role": {"role": "doctor", "content": "a"},
    "no content": {"role": "user"},
    "no parts": {"role": "user", "content": []},
    "nothing said": {"role": "assistant", "content": None, "annotations": []},
    "a number": {"role": "user", "content": 7},
    "a part without a type": {"role": "user", "content": [{"text": "a"}]},
    "a part without its text": {"role": "user", "content": [{"type": "text", "txt": "a"}]},
    "a part of a wrong kind": {"role": "user", "content": [{"type": "image_url", "image_url": "http://x"}]},
    "a user's tool calls": {"role": "user", "content": "a", "tool_calls": [CALL]},
    "a tool call without id": {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL["function"]}]},
    "a tool call without function": {"role": "assistant", "tool_calls": [{"id": "c"}]},
    "an answer to no call": {"role": "tool", "content": "a"},
    "a user's answer to a call": {"role": "user", "content": "a", "tool_call_id": "c"},
    "NaN": {"role": "user", "content": "a", "score": math.nan},
    "no JSON": {"role": "user", "content": "a", "made": object()},
    "half of a pair": {"role": "user", "content": "\ud800"},
}


@pytest.mark.parametrize("what", GOOD)
def test_a_message_is_kept_without_loss(what: str, store_url: str) -> None:
    with open_memory(store_url) as memory:
        conversation = memory.conversation("c")
        kept = conversation.append_sync(GOOD[what], key="k")
        (found,) = conversation.messages_sync()
        assert found == kept
        assert found.to_openai() == GOOD[what]
        assert conversation.append_sync(found.chat, key="k") == kept


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_message_is_refused_with_the_reason_and_without_the_content(what: str) -> None:
    with pytest.raises(MessageInvalid) as caught:
        read_message(BAD[what])
    assert "He coughs" not in str(caught.value)
    assert len(caught.value.message) > len("This is no message: .")


def test_what_the_openai_library_returns_is_taken() -> None:
    answer = ChatCompletionMessage.model_validate({"role": "assistant", "content": None, "tool_calls": [CALL]})
    assert read_message(answer).to_openai() == {"role": "assistant", "tool_calls": [CALL]}


def test_what_is_read_off_a_message(store_url: str) -> None:
    with open_memory(store_url) as memory:
        conversation = memory.conversation("c")
        for what in ("parts", "text and tool calls", "tool calls"):
            conversation.append_sync(GOOD[what])
        parts, both, calls = conversation.messages_sync()
    assert (parts.role, parts.text, len(parts.content or ())) == ("user", "What is this?", 5)
    assert (both.text, both.content) == ("Let me see.", "Let me see.")
    assert both.tool_calls[0].function is not None
    assert both.tool_calls[0].function.name == "look"
    assert (calls.text, calls.content, len(calls.tool_calls), parts.tool_calls) == ("", None, 1, ())
