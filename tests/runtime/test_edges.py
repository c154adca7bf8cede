"""What a checkpoint says of its edge, read without its graph."""

from __future__ import annotations

from typing import Any

import pytest

from vertebra.runtime.edges import changed_fields, next_of


@pytest.mark.parametrize(
    ("channel", "value", "following"),
    [
        ("__start__", {"text": "a"}, ("__start__",)),
        ("branch:to:b", None, ("b",)),
        ("branch:to:b", (None, True), ("b",)),  # deferred: all else has finished
        ("branch:to:b", (None, False), ()),
        ("join:a+b:c", {"b", "a"}, ("c",)),
        ("join:a+b:c", {"a"}, ()),
        ("join:a+b:c", [], ()),
        ("join:a+b:c", ({"a", "b"}, True), ("c",)),
        ("join:a+b:c", ({"a", "b"}, False), ()),
        ("text", "branch:to:b", ()),
        ("__pregel_tasks", [], ()),
    ],
)
def test_what_comes_next(channel: str, value: Any, following: tuple[str, ...]) -> None:
    assert next_of({"channel_values": {"n": 1, channel: value}}) == following


def test_the_fields_that_were_written_are_the_states_own() -> None:
    after = {"channel_versions": {"a": 2, "b": 1, "branch:to:x": 2, "__start__": 2, "vertebra.route": 2, "join:a:b": 2}}
    assert changed_fields({"channel_versions": {"a": 1, "b": 1}}, after) == ("a",)
    assert changed_fields(None, after) == ("a", "b")
