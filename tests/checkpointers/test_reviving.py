"""Messages come back as LangGraph's serializer brings them back, by a shorter way; nothing else is revived by it."""

from __future__ import annotations

from typing import Any

import ormsgpack
import pytest
from langchain_core import messages
from langgraph.checkpoint.serde.jsonplus import EXT_PYDANTIC_V2, JsonPlusSerializer
from pydantic import BaseModel

from vertebra.checkpointers.reviving import Serializer


class Note(BaseModel):
    text: str
    of: messages.HumanMessage


THEIRS = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
OURS = Serializer(pickle_fallback=False, allowed_msgpack_modules=None)

CALL = {"name": "look", "args": {"at": ["Größe", None, 1.5]}, "id": "c1", "type": "tool_call"}
MESSAGES: list[Any] = [
    messages.HumanMessage("how are you", id="m1", name="Ada", additional_kwargs={"n": [1, {"k": b"\x00"}]}),
    messages.HumanMessage([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]),
    messages.AIMessage(
        "", tool_calls=[CALL], usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    ),
    messages.AIMessageChunk("half", id="m2"),
    messages.SystemMessage("be brief"),
    messages.ToolMessage("found", tool_call_id="c1", artifact={"set": {1, 2}}, status="error"),
    messages.ChatMessage("hm", role="critic"),
    messages.FunctionMessage("1", name="f"),
    messages.RemoveMessage(id="m1"),
]


def ext(*payload: Any) -> bytes:
    return ormsgpack.packb([ormsgpack.Ext(EXT_PYDANTIC_V2, ormsgpack.packb(payload))])


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_was(message: Any) -> None:
    stored = OURS.dumps_typed({"log": [message, "x"]})
    assert stored == THEIRS.dumps_typed({"log": [message, "x"]})
    (back, text) = OURS.loads_typed(stored)["log"]
    assert type(back) is type(message)
    assert back == message == THEIRS.loads_typed(stored)["log"][0]
    assert text == "x"
    assert OURS.loads_typed(stored)["log"][0] is not back


@pytest.mark.parametrize(
    "payload",
    [
        ("langchain_core.messages.human", "HumanMessage", {"content": 7, "type": "no such"}, "model_validate_json"),
        ("langchain_core.messages.human", "HumanMessage", {"nothing": 1}, "model_validate_json"),
        ("langchain_core.messages.human", "HumanMessage", ["no", "fields"], "model_validate_json"),
        ("langchain_core.messages.human", "HumanMessage", {"content": "x"}),
        ("langchain_core.messages.human", "SystemMessage", {"content": "x"}, "model_validate_json"),
        ("langchain_core.messages.human", "Any", {"content": "x"}, "model_validate_json"),
        ("langchain_core.messages.utils", "convert_to_messages", {"messages": []}, "model_validate_json"),
        ("langchain_core.messages.", "os", {"command": "x"}, "model_validate_json"),
        ("subprocess", "Popen", {"args": ["false"]}, "model_validate_json"),
        ("langchain_core.messages.human", ["HumanMessage"], {"content": "x"}, "model_validate_json"),
    ],
)
def test_what_is_no_message_becomes_what_langgraph_makes_of_it(payload: Any) -> None:
    stored = ("msgpack", ext(*payload))
    ours, theirs = OURS.loads_typed(stored), THEIRS.loads_typed(stored)
    assert (type(ours[0]), ours) == (type(theirs[0]), theirs)


def test_types_that_are_allowed_later_are_revived() -> None:
    stored = THEIRS.dumps_typed([Note(text="a", of=messages.HumanMessage("b"))])
    assert isinstance(OURS.loads_typed(stored)[0], dict)
    allowing = OURS.with_msgpack_allowlist([Note])
    assert allowing.loads_typed(stored) == [Note(text="a", of=messages.HumanMessage("b"))]


def test_what_is_cut_off_is_refused_as_by_langgraph() -> None:
    whole = OURS.dumps_typed(MESSAGES)[1]
    for data in (b"", whole[:-1], whole[: len(whole) // 2], b"\xc1"):
        with pytest.raises(ormsgpack.MsgpackDecodeError):
            THEIRS.loads_typed(("msgpack", data))
        with pytest.raises(ormsgpack.MsgpackDecodeError):
            OURS.loads_typed(("msgpack", data))
