"""``vertebra verify`` and ``vertebra export``: recorded threads against today's code, from a store or from files."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertebra.cli import printing
from vertebra.cli.arguments import exit_code
from vertebra.cli.loading import encryption_key, load_graph, read_json, require_store
from vertebra.cli.options import memory_option
from vertebra.cli.terminal import Terminal, clean
from vertebra.errors import StoreUnavailable, ThreadNotFound, VertebraError
from vertebra.types import Difference, Verification

if TYPE_CHECKING:
    from vertebra.runtime.app import App

DIFFERENT = 6


@dataclass(frozen=True, slots=True)
class Unverified:
    """A thread, or a file, that cannot be verified, and why."""

    thread: str
    error: VertebraError


async def verify(options: argparse.Namespace) -> int:
    """Verify what is named, and tell of every difference."""
    needs_store = bool(options.threads or options.all)
    if needs_store:
        require_store(options.store)
    store = options.store if needs_store else "memory://"
    app: App = load_graph(options.graph).compile(
        checkpointer=store,
        default_model=options.model,
        encryption=encryption_key() if needs_store else None,
        **memory_option(options),
    )
    terminal = Terminal.of(sys.stdout)
    found: list[Verification | Unverified] = []
    async with app:
        async for verification in _verifications(app, options):
            found.append(verification)
            if not options.json:
                print("\n".join(verification_text(verification, terminal)), flush=True)
    if options.json:
        print(json.dumps([verification_data(item) for item in found]))
    elif not found:
        print("Nothing to verify.")
    return max(map(_code, found), default=0)


def _code(found: Verification | Unverified) -> int:
    if isinstance(found, Unverified):
        return exit_code(found.error)
    return 0 if found.ok else DIFFERENT


async def _verifications(app: App, options: argparse.Namespace) -> AsyncIterator[Verification | Unverified]:
    """Each of what is named; one that cannot be verified is no reason to leave out those after it."""
    files, threads = list(options.file or ()), list(options.threads)
    alone = len(files) + len(threads) == 1 and not options.all
    damaged: dict[str, VertebraError] = {}
    listed: list[str] = []
    if options.all:
        since = time.time() - options.since if options.since is not None else 0.0
        records = await app.services.store.runs.threads(graph=app.name, damaged=damaged.__setitem__)
        listed = [item.thread for item in records if item.updated_at >= since and item.thread not in threads]
    for name, is_file in [*((file, True) for file in files), *((thread, False) for thread in [*threads, *listed])]:
        try:
            yield await app.verify(read_json(f"@{name}") if is_file else name)
        except StoreUnavailable:
            raise
        except ThreadNotFound as error:
            if name not in listed:  # else it was pruned or deleted since it was listed
                if alone:
                    raise
                yield Unverified(name, error)
        except VertebraError as error:
            if alone or app.definition is None:
                raise
            yield Unverified(name, error)
    for thread, trouble in damaged.items():
        if thread not in threads:
            yield Unverified(thread, trouble)


async def export(options: argparse.Namespace) -> int:
    """Print a recorded thread as JSON."""
    require_store(options.store)
    async with load_graph(options.graph).compile(checkpointer=options.store, encryption=encryption_key()) as app:
        print(json.dumps(await app.export(options.thread), indent=1, sort_keys=True))
    return 0


def verification_data(found: Verification | Unverified) -> dict[str, Any]:
    """A verification, for ``--json``."""
    if isinstance(found, Unverified):
        nothing = Verification(found.thread, "", "", 0, 0, (), ())
        return {
            **verification_data(nothing),
            "graph": None,
            "version": None,
            "ok": False,
            "error": found.error.to_json(),
        }
    keys = ("thread", "graph", "version", "ok", "edges", "nodes", "unverified", "pruned")
    return {
        **{key: printing.plain(getattr(found, key)) for key in keys},
        "differences": [difference_data(item) for item in found.differences],
        "error": None,
    }


def difference_data(difference: Difference) -> dict[str, Any]:
    """A difference, for ``--json``."""
    keys = ("kind", "node", "step", "field", "recorded", "now", "text")
    return {key: printing.plain(getattr(difference, key)) for key in keys}


def verification_text(verification: Verification | Unverified, terminal: Terminal) -> Iterator[str]:
    """A verification in lines."""
    if isinstance(verification, Unverified):
        yield f"thread {clean(verification.thread)}: {terminal.paint('not verified', 'red')}"
        yield from terminal.wrapped(str(verification.error), 2)
        return
    done = f"{printing.counted(verification.edges, 'edge')}, {printing.counted(verification.nodes, 'execution')}"
    left = f"; not executed: {', '.join(verification.unverified)}" if verification.unverified else ""
    left += f"; pruned: {', '.join(verification.pruned)}" if verification.pruned else ""
    number = len(verification.differences)
    outcome = (
        terminal.paint("as recorded", "green")
        if verification.ok
        else terminal.paint(printing.counted(number, "difference"), "red")
    )
    yield f"thread {clean(verification.thread)}: {outcome} ({done}{left})"
    for item in verification.differences:
        place = f"{item.kind} of {item.node} at step {item.step}" if item.node else item.kind
        field = f", field {item.field}" if item.field is not None else ""
        yield terminal.line(f"{place}{field}:", 2)
        for line in clean(item.text).splitlines():
            style = {"+": "green", "-": "red"}.get(line[:1], "") if item.kind not in ("update", "route") else ""
            yield terminal.paint(f"    {line}", style)
