"""``vertebra prune``: ended threads, their history or their recorded answers let go, and what that freed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vertebra.checkpointers.pruning import Progress
from vertebra.cli.arguments import exit_code
from vertebra.cli.loading import open_store
from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal, clean
from vertebra.types import Pruned


async def prune(options: argparse.Namespace) -> int:
    """Prune, and tell what went."""
    with open_store(options.store) as store, _progress(as_json=options.json) as tell:
        pruned = await store.prune(
            statuses=options.status,
            older_than_s=options.older_than,
            keep=options.keep,
            answers=options.answers,
            graph=options.graph,
            dry_run=options.dry_run,
            on_progress=tell,
        )
    if options.json:
        print(json.dumps(pruned_data(pruned)))
    else:
        print("\n".join(pruned_text(pruned)))
    return max(map(exit_code, pruned.damaged.values()), default=0)


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Progress]:
    """A line that is written over, where a person looks."""
    shown = Terminal.of(sys.stderr).colour and not as_json
    if not shown:
        yield lambda *_: None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False, markup=False, emoji=False).status("") as status:
        units = {"threads": "{:,} of {:,} threads", "bytes": "{:,} of {:,} bytes given back"}
        yield lambda what, done, of: status.update(units[what].format(done, of))


def pruned_data(pruned: Pruned) -> dict[str, Any]:
    """What was pruned, for ``--json``."""
    keys = ("threads", "shortened", "checkpoints", "calls", "answers", "bytes_before", "bytes_after", "dry_run")
    damaged = {thread: error.to_json() for thread, error in pruned.damaged.items()}
    return {**{key: getattr(pruned, key) for key in keys}, "kept": dict(pruned.kept), "damaged": damaged}


def pruned_text(pruned: Pruned) -> Iterator[str]:
    """What was pruned, in lines."""
    would = "Would remove" if pruned.dry_run else "Removed"
    if pruned.threads or not pruned.shortened:
        what = f", with {counted(pruned.calls, 'call')}" if pruned.calls else ""
        state = f" and {counted(pruned.checkpoints, 'checkpoint')}" if pruned.threads else ""
        yield f"{would} {counted(pruned.threads, 'thread')}{what}{state}."
    else:
        gone = [counted(n, what) for n, what in ((pruned.checkpoints, "checkpoint"), (pruned.answers, "answer")) if n]
        yield f"{would} {' and '.join(gone)} of {counted(pruned.shortened, 'thread')}."
    for reason, number in sorted(pruned.kept.items()):
        why = {"driven": "driven by now", "forked": "needed by a fork"}.get(reason, reason)
        yield f"Kept {counted(number, 'thread')}: {why}."
    for thread, error in pruned.damaged.items():
        yield f"Damaged is {clean(thread)}: {clean(error.message)} To go on: {clean(error.remedy)}"
    if not pruned.dry_run:
        freed = pruned.bytes_before - pruned.bytes_after
        yield f"The database took {pruned.bytes_before:,} bytes and takes {pruned.bytes_after:,}: {freed:,} freed."
