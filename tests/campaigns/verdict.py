"""What must hold of a run after its processes were killed, whatever the instant. Pure: evidence in, figures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.campaigns.inspection import numbers, plain
from vertebra.testing import Books

QUIET = frozenset(
    {
        *("thread.begun", "thread.finishing", "thread.finished", "answer.recorded", "interrupt.asked"),
        *("checkpoint.before", "checkpoint.after", "epoch.advanced", "node.retry", "effect.recorded"),
        *("memory.delivering", "memory.delivered"),
    }
)
"""Points at which the reference graph has no call under way: a kill there loses none."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one run: ``left`` by each process that died, how it ended, what was paid and witnessed."""

    points: Sequence[str]
    """Where each process died that did."""
    left: Sequence[Mapping[str, Any]]
    """The thread as each process found it that came after another."""
    end: Mapping[str, Any]
    books: Books
    started: Sequence[Mapping[str, Any]]
    effects: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figures:
    """What one run cost and saved."""

    recorded: int = 0
    """Model calls in the journal at the end."""
    survived: int = 0
    """Of these, recorded already when the last process died."""
    paid: int = 0
    paid_again: int = 0
    """Payments for calls that were recorded: must be none."""
    lost: int = 0
    """Calls in the open window, as the journal counts them."""
    lost_and_paid: int = 0
    """Of these, how many the model had in fact answered."""
    effects: int = 0
    effects_repeated: int = 0
    """Attempts of an effect beyond those of a run that was not killed."""


def judge(unkilled: Mapping[str, Any], seen: Evidence) -> Figures:
    """Raise ``AssertionError`` with what is wrong, or return the figures."""
    assert seen.end["status"] == "done", seen.end
    _state(unkilled, seen)
    _effects(seen)
    _conversation(unkilled, seen)
    for line in seen.started:
        if "durable" in line:
            _durable_before_started(line)
    for left in seen.left:
        _writes_before_checkpoint(left, seen.started)
    return _payments(seen)


def _state(unkilled: Mapping[str, Any], seen: Evidence) -> None:
    """The same end, made of exactly the answers that are on record."""
    state = seen.end["state"]
    assert plain(state) == plain(unkilled["state"]), f"another end:\n{state}\n{unkilled['state']}"
    calls = [call for call in seen.end["calls"] if call["kind"] == "llm"]
    assert all(call["status"] == "done" for call in calls), [call for call in calls if call["status"] != "done"]
    on_record = numbers([call["answer"] for call in calls])
    assert numbers(state) == on_record, f"the state is made of {numbers(state)}, on record are {on_record}"


def _payments(seen: Evidence) -> Figures:
    """No recorded call was paid again, and each that was lost was under way at a death, and is counted."""
    calls = _model_calls(seen.end)
    paid = seen.books.paid_by_key()
    assert set(paid) <= set(calls), f"paid under keys that the journal does not know: {set(paid) - set(calls)}"
    for before, after in pairwise([*map(_model_calls, seen.left), calls]):
        _nothing_forgotten(before, after, paid)
    for key, call in calls.items():
        assert 1 <= paid[key] <= 1 + call["lost"], f"paid {paid[key]} times, lost {call['lost']} times: {call}"
    last = _model_calls(seen.left[-1]) if seen.left else {}
    for key, call in last.items():
        asked = call["lost"] + call["in_doubt"]
        assert calls[key]["lost"] == asked, f"under way at the last death, and not counted as lost: {call}"
    lost = sum(call["lost"] for call in calls.values())
    if all(point in QUIET for point in seen.points):
        assert lost == 0, f"{lost} calls lost at {seen.points}, where none was under way"
    survived = [key for key, call in last.items() if call["status"] == "done"]
    return Figures(
        recorded=len(calls),
        survived=len(survived),
        paid=sum(paid.values()),
        paid_again=sum(paid[key] - 1 - last[key]["lost"] for key in survived if paid[key] > 1 + last[key]["lost"]),
        lost=lost,
        lost_and_paid=sum(paid.values()) - len(calls),
        effects=len(seen.effects),
        effects_repeated=max(0, len(seen.effects) - UNKILLED_ATTEMPTS),
    )


def _model_calls(thread: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {call["key"]: call for call in thread["calls"] if call["kind"] == "llm"}


def _nothing_forgotten(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], paid: Mapping[str, int]
) -> None:
    """From one death to the next: answers stay as they are, and only calls under way can be lost."""
    assert set(before) <= set(after), f"calls have gone from the journal: {set(before) - set(after)}"
    for key, call in after.items():
        was = before.get(key, {"lost": 0, "in_doubt": False, "status": "new", "answer": None})
        assert 0 <= call["lost"] - was["lost"] <= int(was["in_doubt"]), f"lost, but not under way: {was} {call}"
        if was["status"] == "done":
            assert call["answer"] == was["answer"], f"a recorded answer was changed: {was} {call}"
            assert paid[key] <= 1 + was["lost"], f"a recorded call was paid again: {was} {call}, {paid[key]} times"


UNKILLED_ATTEMPTS = 3
"""One of ``file``; two of ``publish``, whose first confirmation is always lost."""


def _effects(seen: Evidence) -> None:
    """Each effect was attempted under one key, and what the state kept is that key."""
    keys: dict[str, set[str]] = {}
    for line in seen.effects:
        keys.setdefault(line["effect"], set()).add(line["key"])
    assert len(keys) == 2, keys
    assert all(len(found) == 1 and None not in found for found in keys.values()), f"another key on another try: {keys}"
    assert keys["publish"] == {seen.end["state"]["receipt"]}, keys
    attempts = Counter(line["effect"] for line in seen.effects)
    assert attempts.total() <= UNKILLED_ATTEMPTS + len(seen.points), attempts
    assert all(call["status"] == "done" for call in seen.end["calls"] if call["kind"] == "effect")


INNER = ("read", "file")
"""Nodes of the subgraph: what they say is durable with a superstep of their own."""


def _conversation(unkilled: Mapping[str, Any], seen: Evidence) -> None:
    """Invariant 3: each message once, in order; and at no death was one visible whose superstep was not durable."""
    said = seen.end["said"]
    assert [line["text"] for line in plain(said)] == [line["text"] for line in plain(unkilled["said"])], said
    assert set(numbers(said)) <= set(numbers([call["answer"] for call in seen.end["calls"]])), said
    for left in seen.left:
        durable = max((c["step"] for c in left["checkpoints"] if not c["loop"]), default=-1)
        early = [line for line in left.get("said", ()) if line["node"] not in INNER and line["step"] > durable]
        assert not early, f"visible before checkpoint {durable} + 1 was durable: {early}"


def _durable_before_started(line: Mapping[str, Any]) -> None:
    """Invariant 2: at the start of a node the checkpoint of the edge before it could be read by anybody."""
    assert line["durable"] == line["step"] - 1, f"started before its checkpoint was durable: {line}"


def _writes_before_checkpoint(left: Mapping[str, Any], started: Sequence[Mapping[str, Any]]) -> None:
    """Invariant 2: where a dead process left a checkpoint, it left the writes of every task before it too."""
    for checkpoint in left["checkpoints"]:
        place = (checkpoint["loop"], checkpoint["step"])
        ran = {line["task"] for line in started if (line["loop"], line["step"]) == place}
        assert ran <= set(checkpoint["wrote"]), f"checkpoint {place} without the writes of {ran}: {checkpoint}"
