"""``vertebra history`` and ``vertebra fork``: the edges of threads and their forks, as a tree on the terminal."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

from vertebra.cli import printing
from vertebra.cli.loading import encryption_key, load_graph, open_store, read_json, require_store
from vertebra.cli.terminal import Terminal, clean, fit
from vertebra.types import Edge, ThreadTree


async def history(options: argparse.Namespace) -> int:
    """Print the tree that a thread is part of."""
    from vertebra.runtime.trees import tree_of

    # Without the graph its types stay plain data, which is all that is needed; it would be warned of for each.
    logging.getLogger("langgraph.checkpoint").setLevel(logging.ERROR)
    with open_store(options.store) as store:
        tree = await tree_of(store, options.thread)
    if options.json:
        print(json.dumps(tree_data(tree)))
    else:
        for line in tree_text(tree, options.thread, Terminal.of(sys.stdout)):
            print(line)
    return 0


async def fork(options: argparse.Namespace) -> int:
    """Make a fork, and tell how it stands."""
    require_store(options.store)
    update = None if options.update is None else read_json(options.update)
    app = load_graph(options.graph).compile(checkpointer=options.store, encryption=encryption_key())
    async with app:
        run = await app.fork(
            options.thread,
            at=options.at,
            update=update,
            as_node=options.as_node,
            fresh=options.fresh,
            thread_id=options.fork_id,
        )
    if options.json:
        print(json.dumps(printing.run_data(run)))
        return 0
    terminal = Terminal.of(sys.stdout)
    following = f"; next: {', '.join(dict.fromkeys(run.next))}" if run.next else ""
    print(
        f"thread {clean(run.thread_id)}: forked from {clean(options.thread)}, {terminal.status(run.status)}{following}"
    )
    return 0


def tree_data(tree: ThreadTree) -> dict[str, Any]:
    """A tree, for ``--json``."""
    keys = ("thread", "graph", "version", "status", "parent", "forked_at", "fresh")
    return {
        **{key: getattr(tree, key) for key in keys},
        "edges": [edge_data(edge) for edge in tree.edges],
        "forks": [tree_data(fork) for fork in tree.forks],
    }


def edge_data(edge: Edge) -> dict[str, Any]:
    """An edge, for ``--json``; times are Unix seconds."""
    keys = ("checkpoint_id", "step", "source", "nodes", "next", "changed", "at", "previous")
    return {key: printing.plain(getattr(edge, key)) for key in keys}


def tree_text(tree: ThreadTree, marked: str, terminal: Terminal, indent: str = "") -> Iterator[str]:
    """A tree in lines: below each edge the threads that were forked from it."""
    origin = f"fork {tree.thread}" if tree.parent is not None else f"thread {tree.thread}"
    fresh = ", fresh" if tree.fresh else ""
    gone = f", of {tree.parent}, which is gone" if tree.parent is not None and not indent else ""
    head = _line(f"{indent}{origin} ({tree.graph} {tree.version}{fresh}{gone}): {tree.status}", terminal)
    yield terminal.paint(head, "bold") if tree.thread == marked else head
    indent = indent.replace("├─ ", "│  ").replace("╰─ ", "   ")
    known = {edge.checkpoint_id for edge in tree.edges}
    for number, edge in enumerate(tree.edges):
        last = number == len(tree.edges) - 1
        yield _line(f"{indent}{'╰' if last else '├'} {_edge_text(edge)}", terminal)
        for fork in tree.forks:
            if fork.forked_at == edge.checkpoint_id or (last and fork.forked_at not in known):
                yield from tree_text(fork, marked, terminal, f"{indent}{' ' if last else '│'} ╰─ ")


def _line(text: str, terminal: Terminal) -> str:
    """One line, its columns kept, cut to the width."""
    return fit(" ".join(clean(text).splitlines()), terminal.width)


def _edge_text(edge: Edge) -> str:
    what = ", ".join(edge.nodes) or {"update": "by hand"}.get(edge.source, edge.source)
    what = "begin" if edge.nodes == ("__start__",) else what
    wrote = f" wrote {', '.join(edge.changed)}" if edge.changed and edge.source != "input" else ""
    following = ", ".join("begin" if name == "__start__" else name for name in edge.next) or "end"
    return f"{edge.step:>3}  {edge.checkpoint_id}  {what}{wrote} → {following}"
