"""A message is taken for what it was only if its bytes are the same; whatever is done to it in place is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core import messages

from vertebra.checkpointers.pieces.sameness import PARTS, are_same, sameness
from vertebra.checkpointers.reviving import Serializer

SERDE = Serializer(pickle_fallback=False, allowed_msgpack_modules=None)


def talk() -> list[Any]:
    call = {"name": "look", "args": {"at": [1, {"deep": "x" * 40}]}, "id": "c1", "type": "tool_call"}
    usage = {"input_tokens": 3000, "output_tokens": 4, "total_tokens": 3004}
    return [
        messages.SystemMessage("be brief"),
        messages.HumanMessage([{"type": "text", "text": "a"}, "b"], id="m1"),
        messages.AIMessage("", tool_calls=[call], usage_metadata=usage, response_metadata={"model": "m"}),
        messages.ToolMessage("found", tool_call_id="c1", artifact={"k": [1.5]}),
        messages.AIMessage("done", id="m2"),
    ]


CHANGES: dict[str, Callable[[list[Any]], Any]] = {
    "content": lambda log: setattr(log[4], "content", "other"),
    "number": lambda log: log[2].usage_metadata.update(input_tokens=3001),
    "the same number again": lambda log: log[2].usage_metadata.update(input_tokens=int("3000")),
    "key": lambda log: log[0].additional_kwargs.update(new=1),
    "key renamed": lambda log: log[2].response_metadata.update(other=log[2].response_metadata.pop("model")),
    "part": lambda log: log[1].content.append("c"),
    "part of a part": lambda log: log[1].content[0].update(text="A"),
    "order": lambda log: log[1].content.reverse(),
    "deep": lambda log: log[2].tool_calls[0]["args"]["at"][1].update(deep=""),
    "equal, of another type": lambda log: log[3].artifact["k"].__setitem__(0, True),
    "extra": lambda log: setattr(log[4], "no_field", 1),
    "fields": lambda log: setattr(log[4], "__dict__", dict(log[4].__dict__, name="n")),
    "removed": lambda log: log[2].tool_calls.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_changed_in_place_is_seen(change: Callable[[list[Any]], Any]) -> None:
    log = talk()
    before = [found for found in map(sameness, log) if found is not None]
    assert len(before) == len(log)
    assert are_same(log, before)
    stored = SERDE.dumps_typed(log)
    change(log)
    assert not are_same(log, before) or SERDE.dumps_typed(log) == stored
    changed = [at for at, (message, was) in enumerate(zip(log, before, strict=True)) if not are_same([message], [was])]
    assert len(changed) <= 1
    if SERDE.dumps_typed(log) != stored:
        assert changed


@given(st.data())
def test_what_is_the_same_has_the_same_bytes(data: st.DataObject) -> None:
    log = talk()
    before: Any = list(map(sameness, log))
    stored = SERDE.dumps_typed(log)
    for name in data.draw(st.lists(st.sampled_from([*CHANGES, "nothing"]), max_size=3)):
        try:
            CHANGES.get(name, len)(log)
        except (AttributeError, IndexError, KeyError, TypeError):
            continue  # what is to be changed is gone, or something else stands there
    if are_same(log, before):
        assert SERDE.dumps_typed(log) == stored


class Mine(messages.HumanMessage):
    pass


def endless() -> Any:
    message = messages.HumanMessage("x")
    message.additional_kwargs["me"] = message.additional_kwargs
    return message


@pytest.mark.parametrize(
    "value",
    [
        {"content": "x"},
        ["x"],
        "x",
        Mine("x"),
        messages.AIMessageChunk("x"),
        messages.HumanMessage("x", additional_kwargs={"o": object()}),
        messages.HumanMessage("x", additional_kwargs={"o": (1, [])}),
        messages.HumanMessage("x", no_field=1),
        messages.HumanMessage("x", additional_kwargs={str(n): [n] for n in range(PARTS)}),
        endless(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_all_else_it_cannot_be_told(value: Any) -> None:
    assert sameness(value) is None
