"""What the subcommands of the command line share: options, kinds of value, and the form of their help."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

DEFAULT_STORE = "sqlite:///vertebra.db"


def command(commands: Any, name: str, text: str, *lines: str) -> argparse.ArgumentParser:
    """Add a subcommand: what it does in one line, and lines of the shell as examples."""
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples(*lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return added


def examples(*lines: str) -> str:
    """The examples at the end of a subcommand's help."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def add_graph(command: argparse.ArgumentParser) -> None:
    """The graph that a subcommand is about."""
    command.add_argument("graph", metavar="MODULE:GRAPH", help="a Graph, such as agents.scribe:graph")


def add_driving(command: argparse.ArgumentParser) -> None:
    """What any subcommand takes that drives threads."""
    command.add_argument(
        "--model",
        default=os.environ.get("VERTEBRA_MODEL") or None,
        help="for tasks that the graph's policy does not name (default: $VERTEBRA_MODEL)",
    )
    add_memory(command)
    command.add_argument("-v", "--verbose", action="store_true", help="tell of each node on standard error")
    add_store(command)


def add_memory(command: argparse.ArgumentParser) -> None:
    """The memory of the graph's nodes."""
    command.add_argument(
        "--memory",
        metavar="URL",
        default=os.environ.get("VERTEBRA_MEMORY") or None,
        help="what ctx.memory is in nodes (default: $VERTEBRA_MEMORY)",
    )


def memory_option(options: argparse.Namespace) -> dict[str, Any]:
    """What ``compile`` is given for it: nothing where it is not named, since adopted graphs take none."""
    return {} if options.memory is None else {"memory": options.memory}


def add_store(command: argparse.ArgumentParser) -> None:
    """The database of the threads, and ``--json``."""
    command.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("VERTEBRA_STORE") or DEFAULT_STORE,
        help=f"sqlite:///file or postgresql://... (default: $VERTEBRA_STORE, else {DEFAULT_STORE})",
    )
    add_json(command)


def add_json(command: argparse.ArgumentParser) -> None:
    """``--json``, which every subcommand has."""
    command.add_argument("--json", action="store_true", help="machine-readable output")


def seconds(text: str) -> float:
    """A finite number of seconds, 0 or more."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("seconds, 0 or more")
    return number


def count(text: str) -> int:
    """A number of things, at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def span(text: str) -> float:
    """A span of time such as ``30d``, in seconds."""
    for unit, length_s in (("min", 60), ("h", 3600), ("d", 86400)):
        if text.endswith(unit):
            return seconds(text.removesuffix(unit)) * length_s
    raise argparse.ArgumentTypeError("a number and d, h or min")
