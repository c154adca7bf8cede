"""The command line of ``vertebra graph``: its subcommands, their options, and an example of each."""

from __future__ import annotations

import argparse
import os
from typing import Any

from vertebra.cli.options import DEFAULT_STORE, add_graph, add_json, command

FORMATS = ("svg", "png", "text", "dot", "mermaid")
THEMES = ("auto", "light", "dark")


def add_parser(commands: Any) -> None:
    """Add the command ``graph`` to the command line."""
    graph = commands.add_parser("graph", help="look at a graph without running it")
    actions = graph.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (_check, _show, _draw, _prove, _bounds, _diff):
        add(actions)


def _check(actions: Any) -> None:
    check = command(
        actions,
        "check",
        "run the static checks",
        "vertebra graph check agents:graph",
        "vertebra graph check agents:graph --strict --json | jq '.[] | select(.waived == null)'",
    )
    add_graph(check)
    check.add_argument("--strict", action="store_true", help="exit with 1 at a warning too, unless it is waived")
    add_json(check)


def _show(actions: Any) -> None:
    show = command(
        actions,
        "show",
        "print the graph as a picture in text",
        "vertebra graph show agents:graph",
        "vertebra graph show agents:graph --run visit-42 --store sqlite:///visits.db",
    )
    add_graph(show)
    _overlays(show)


def _draw(actions: Any) -> None:
    draw = command(
        actions,
        "draw",
        "write a picture of the graph: SVG, PNG, text, DOT or Mermaid",
        "vertebra graph draw agents:graph -o agent.svg",
        "vertebra graph draw agents.v2:graph --diff agents.v1:graph -o changes.png",
        "vertebra graph draw agents:graph --format mermaid",
    )
    add_graph(draw)
    draw.add_argument("--format", choices=FORMATS, help="which form (default: by the name of --output, else svg)")
    draw.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output)")
    draw.add_argument("--theme", choices=THEMES, default="auto", help="of SVG and PNG (default: auto)")
    _overlays(draw)


def _overlays(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", metavar="THREAD", help="lay over it what the run of this thread did")
    command.add_argument("--diff", metavar="OLD", help="mark what changed since this one, as MODULE:GRAPH")
    command.add_argument("--depth", type=int, default=1, metavar="N", help="levels of subgraphs to open (default: 1)")
    command.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("VERTEBRA_STORE") or DEFAULT_STORE,
        help=f"with --run (default: $VERTEBRA_STORE, else {DEFAULT_STORE})",
    )


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
        actions,
        "bounds",
        "count visits and model calls of the worst case",
        "vertebra graph bounds agents:graph",
        "vertebra graph bounds agents:graph --past sqlite:///visits.db",
    )
    add_graph(bounds)
    bounds.add_argument("--past", metavar="URL", help="beside it median and p95 of the runs of this database")
    add_json(bounds)


def _diff(actions: Any) -> None:
    diff = command(
        actions,
        "diff",
        "tell what threads in flight would meet under another version of their graph",
        "vertebra graph diff agents.v1:graph agents.v2:graph",
        "vertebra graph diff agents.v1:graph agents.v2:graph --store sqlite:///visits.db --json",
        "vertebra graph diff agents.v1:graph agents.v2:graph --draw changes.svg",
    )
    diff.add_argument("old", metavar="OLD", help="the Graph that started them, as MODULE:GRAPH")
    diff.add_argument("new", metavar="NEW", help="the Graph that would drive them on, as MODULE:GRAPH")
    diff.add_argument("--store", metavar="URL", help="also count the threads in flight of this database")
    diff.add_argument("--draw", metavar="FILE", help="also write a picture of what has changed, as graph draw --diff")
    add_json(diff)
