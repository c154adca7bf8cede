"""``vertebra graph diff``: what threads in flight would meet under another version of their graph."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vertebra.cli.loading import load_graph, open_store
from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal, clean
from vertebra.errors import EncryptionError, GraphChanged, StoreCorrupt, VertebraError

if TYPE_CHECKING:
    from vertebra.checkpointers import Store
    from vertebra.graphs.verdicts import Fate, Verdict
    from vertebra.runtime.app import App
    from vertebra.types import ThreadRecord

WOULD_BE_REFUSED = 4
IN_FLIGHT = ("running", "interrupted", "failed")
UNREADABLE: tuple[str, Fate] = ("unreadable", "refused")
"""Of a thread whose record or state is damaged: no version goes on with it."""
Threads = Counter[tuple[str, "Fate"]]


async def diff(options: argparse.Namespace) -> int:
    """Print the difference, the verdict on each position, and with a store the threads; returns the exit code."""
    from vertebra.cli import drawing  # pictures load what most commands never need
    from vertebra.graphs.shape import difference
    from vertebra.graphs.verdicts import verdicts

    form = None if options.draw is None else drawing.form_of(options.draw)
    before, after = load_graph(options.old), load_graph(options.new)
    old, new = _shape(before), _shape(after)
    positions = verdicts(old, new, getattr(after, "definition", None))
    threads: Threads | None = None
    if options.store is not None:
        with open_store(options.store) as store:
            threads = await _threads(store, str(old["name"]), after)
    changes = difference(old, new)
    if form is not None:
        drawing.write(drawing.difference(before, after), options.draw, form)
    if options.json:
        print(json.dumps(diff_data(changes, positions, threads)))
    else:
        for line in _text(changes, positions, threads, Terminal.of(sys.stdout)):
            print(line)
        if form is not None:
            print(f"Wrote {clean(options.draw)}.")
        elif changes:
            print("Add --draw FILE.svg for a picture of what has changed.")
    fates = [fate for _, fate in threads] if threads is not None else [verdict.fate for verdict in positions]
    return WOULD_BE_REFUSED if "refused" in fates else 0


def _shape(graph: Any) -> Mapping[str, Any]:
    from vertebra.graphs.shape import shape

    found: Mapping[str, Any] = shape(graph.definition) if hasattr(graph, "definition") else graph.shape()
    return found


async def _threads(store: Store, name: str, graph: Any) -> Threads:
    """The threads in flight by where they stand and what would become of each; migrations are tried, not applied."""
    app = graph.compile(checkpointer=store)
    found: Threads = Counter()
    for status in IN_FLIGHT:
        damaged: dict[str, VertebraError] = {}
        for record in await store.runs.threads(status=status, graph=name, damaged=damaged.__setitem__):
            found[await _one(app, store, record)] += 1
        if damaged:
            found[UNREADABLE] += len(damaged)
    return found


async def _one(app: App, store: Store, record: ThreadRecord) -> tuple[str, Fate]:
    from vertebra.runtime.carrying import plan
    from vertebra.runtime.position import Unreadable, position_of
    from vertebra.runtime.snapshots import thread_config

    try:
        latest = await store.saver.aget_tuple(thread_config(record.thread))
    except (StoreCorrupt, EncryptionError):
        return UNREADABLE
    try:
        place = " + ".join(sorted(position_of(latest, record).next)) or "the end"
    except Unreadable:
        place = "unreadable"
    if record.fingerprint == app.fingerprint:
        return place, "goes on"
    try:
        return place, "migrates" if plan(app, record, latest).detail["how"] == "migration" else "goes on"
    except GraphChanged:
        return place, "refused"


def diff_data(changes: list[str], positions: list[Verdict], threads: Threads | None) -> dict[str, Any]:
    """A difference, for ``--json``."""
    rows = [] if threads is None else sorted(threads.items())
    counts = [{"position": place, "verdict": fate, "count": number} for (place, fate), number in rows]
    return {
        "changes": changes,
        "positions": [{"node": v.node, "verdict": v.fate, "changes": list(v.changes)} for v in positions],
        "threads": None if threads is None else counts,
    }


def _text(changes: list[str], positions: list[Verdict], threads: Threads | None, terminal: Terminal) -> Iterator[str]:
    yield from (clean(line) for line in changes or ["Nothing has changed."])
    rows = [(v.node, v.fate, v.changes[0] if v.changes and v.fate == "refused" else "") for v in positions]
    yield from terminal.table(("BEFORE", "A THREAD", "BECAUSE OF"), rows)
    if threads is not None:
        if threads:
            found = [(at, fate, str(number)) for (at, fate), number in sorted(threads.items())]
            yield from terminal.table(("BEFORE", "VERDICT", "THREADS"), found)
        yield f"{counted(sum(threads.values()), 'thread')} in flight."
