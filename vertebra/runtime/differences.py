"""What replayed nodes did otherwise than recorded ones, as differences with both in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vertebra.graphs.compilation import OUTBOX, ROUTE
from vertebra.runtime.drift import request_difference
from vertebra.runtime.replaying import Unrecorded
from vertebra.types import Difference

Writes = Mapping[str, Mapping[str, Any]]
"""Task to channel to value, of the fields and routes."""


def by_task(writes: Sequence[tuple[str, str, Any]], channels: set[str]) -> dict[str, dict[str, Any]]:
    """What each task that has finished wrote into these channels."""
    found: dict[str, dict[str, Any]] = {}
    for task, channel, value in writes:
        if not channel.startswith("__") or channel == "__no_writes__":
            found.setdefault(task, {})
        if channel in channels:
            found[task][channel] = _said(value) if channel == OUTBOX else value
    return found


def _said(outbox: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Conversation, branch and message of what a task appended to memory: its model may be another by now."""
    return [[item["line"][1], item["line"][2], item["message"]] for item in outbox]


def differences_of(
    node: str, step: int, recorded: Mapping[str, Any], now: Mapping[str, Any], same: Callable[[Any, Any], bool]
) -> Iterator[Difference]:
    """Where two updates of a node, or the routes after it, are not the same."""
    for channel in sorted({*recorded, *now}):
        one, other = recorded.get(channel), now.get(channel)
        if channel in recorded and channel in now and same(one, other):
            continue
        if channel == ROUTE:
            yield Difference(
                "route", node, step, None, _targets(one), _targets(other), in_words(_targets(one), _targets(other))
            )
        else:
            field = "ctx.memory" if channel == OUTBOX else channel
            yield Difference("update", node, step, field, one, other, in_words(one, other))


def _targets(route: Mapping[str, Sequence[str]] | None) -> list[str]:
    return sorted({target for targets in (route or {}).values() for target in targets})


def unrecorded_difference(item: Unrecorded) -> Difference:
    """A call that the record has no answer for, beside the one that was made in its place."""
    call, instead = item.call, item.instead
    before = instead.request if instead is not None else None
    if instead is None:
        text = f"nothing was asked in its place; now {call.endpoint}:\n{call.request}"
    elif before is None:
        text = f"what was asked was pruned, but was not this; now {call.endpoint}:\n{call.request}"
    elif call.model != instead.model and before == call.request:
        text = f"{instead.endpoint} of {instead.model} -> {call.endpoint} of {call.model}"
    else:
        text = request_difference(before, call.request)
    kind: Any = "arguments" if call.kind == "effect" else "request"
    return Difference(kind, call.node, call.step, None, before, call.request, text)


def in_words(one: Any, other: Any) -> str:
    """Two values on one line."""
    return f"recorded {_short(one)}, now {_short(other)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:299]}…"
