"""Noticing that a node, executed again, asks something else than before, before it pays for it."""

from __future__ import annotations

import difflib
import json

from vertebra.errors import RequestDrift
from vertebra.nodes.visit import Visit, effective_epoch
from vertebra.ports import JournalPort
from vertebra.runtime.requests import Identity


async def load_history(visit: Visit, journal: JournalPort) -> None:
    """Read, once an execution, what earlier executions of this visit have asked."""
    if visit.prior is not None:
        return
    epochs = await journal.epochs(visit.thread, visit.key)
    calls = await journal.calls(visit.thread, visit.key)
    if visit.prior is not None:
        return
    done = [c for c in calls if c.status == "done"]
    current = [c for c in done if c.key.epoch == effective_epoch(epochs, c.key.request_hash, c.key.ordinal)]
    visit.epochs = epochs
    visit.recorded = frozenset((c.key.request_hash, c.key.ordinal) for c in current)
    # What a fork inherits was asked of another state: to ask otherwise is what forks are for.
    visit.inherited = frozenset(
        (c.key.request_hash, c.key.ordinal) for c in current if c.origin is not None and not c.replays
    )
    visit.prior = {
        c.sequence: (c.key.request_hash, c.endpoint, c.request)
        for c in current
        if c.sequence is not None and (c.origin is None or c.replays)
    }


def refuse_drift(visit: Visit, sequence: int | None, identity: Identity, ordinal: int) -> None:
    """Stop a node that asks something else than before at the same place, before it pays.

    Only calls of the body's own task are compared: they come in program order. Calls of tasks that
    it started may come in any order, and are reported when the node ends.
    """
    if sequence is None or visit.drift_checked is None or visit.prior is None:
        return
    before = visit.prior.get(sequence)
    if before is None or visit.drift_checked != sequence:
        visit.drift_checked = None
        return
    digest, endpoint, text = before
    if digest == identity.hash:
        visit.drift_checked = sequence + 1
        return
    visit.drift_checked = None
    if (identity.hash, ordinal) in visit.recorded or endpoint != identity.endpoint:
        return
    raise RequestDrift(
        f"Executed again, node {visit.node!r} would send another request than the recorded one "
        f"(call {sequence + 1}, {endpoint}):\n{request_difference(text, identity.text)}\n",
        node=visit.node,
        thread=visit.thread,
        step=visit.step,
    )


def request_difference(before: str | None, after: str | None) -> str:
    """Two requests as a line-wise difference of their indented JSON."""

    def lines(text: str | None) -> list[str]:
        try:
            return json.dumps(json.loads(text or "null"), indent=1, sort_keys=True, ensure_ascii=False).splitlines()
        except ValueError:
            return [text or ""]

    rows = list(difflib.unified_diff(lines(before), lines(after), "recorded", "now", lineterm="", n=1))
    return "\n".join(rows[:60])
