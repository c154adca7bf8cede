"""The command line of ``vertebra graph``: its subcommands, their options, and an example of each."""

from __future__ import annotations

from typing import Any

from vertebra.cli.options import add_graph, add_json, command


def add_parser(commands: Any) -> None:
    """Add the command ``graph`` to the command line."""
    graph = commands.add_parser("graph", help="look at a graph without running it")
    actions = graph.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (_check, _prove, _bounds, _diff):
        add(actions)


def _check(actions: Any) -> None:
    check = command(actions, "check", "run the static checks", "vertebra graph check agents:graph")
    add_graph(check)
    add_json(check)


def _prove(actions: Any) -> None:
    prove = command(
        actions,
        "prove",
        "prove a claim about every path, or show the shortest path that breaks it",
        "vertebra graph prove agents:graph --node approve --before pay",
        "vertebra graph prove agents:graph --node validate --between draft,send",
        "vertebra graph prove agents:graph --never draft --after send",
        "vertebra graph prove agents:graph --at-most draft,3",
        "vertebra graph prove agents:graph --eventually END",
    )
    add_graph(prove)
    prove.add_argument("--node", metavar="NODE", help="what --before or --between is about")
    prove.add_argument("--before", metavar="NODE", help="--node has run before this one does")
    prove.add_argument("--between", metavar="NODE,NODE", help="--node runs after the first, before the second")
    prove.add_argument("--never", metavar="NODE", help="this one does not run after --after")
    prove.add_argument("--after", metavar="NODE", help="with --never")
    prove.add_argument("--at-most", metavar="NODE,N", help="this node runs at most so many times in a run")
    prove.add_argument("--eventually", metavar="NODE", help="every path leads through this node; END: to its end")
    add_json(prove)


def _bounds(actions: Any) -> None:
    bounds = command(
        actions, "bounds", "count visits and model calls of the worst case", "vertebra graph bounds agents:graph"
    )
    add_graph(bounds)
    add_json(bounds)


def _diff(actions: Any) -> None:
    diff = command(
        actions,
        "diff",
        "tell what threads in flight would meet under another version of their graph",
        "vertebra graph diff agents.v1:graph agents.v2:graph",
        "vertebra graph diff agents.v1:graph agents.v2:graph --store sqlite:///visits.db --json",
    )
    diff.add_argument("old", metavar="OLD", help="the Graph that started them, as MODULE:GRAPH")
    diff.add_argument("new", metavar="NEW", help="the Graph that would drive them on, as MODULE:GRAPH")
    diff.add_argument("--store", metavar="URL", help="also count the threads in flight of this database")
    add_json(diff)
