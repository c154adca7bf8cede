"""Parsing the command line and turning outcomes into exit codes."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from typing import Any

from vertebra import __version__
from vertebra.errors import UsageError, VertebraError

EXIT_CODES = """exit codes:
  0  done
  1  the run failed, or the graph has errors
  2  the command line is wrong
  3  the run waits for an answer (interrupted)
  4  the thread cannot do that now (busy, not found, changed, cancelled)
  5  the database cannot be used
  130  interrupted from the keyboard; the thread can be resumed
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="vertebra",
        description="Run, resume and look at agents that are explicit state graphs.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"vertebra {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = _command(commands, "run", "start a run and drive it to its end or next question", graph=True)
    run.add_argument("--input", default="{}", help="JSON, or @file (default: {})")
    run.add_argument("--thread", help="thread id (default: a fresh one)")
    run.add_argument("--principal", help="on whose behalf")

    resume = _command(commands, "resume", "drive a thread on, with an answer or from where it failed", graph=True)
    resume.add_argument("thread")
    resume.add_argument("--answer", help="JSON, or @file: the answer to its question")
    resume.add_argument("--interrupt", help="which question, where several wait")
    resume.add_argument("--skip", metavar="NODE", help="put --update in the place of what this node would return")
    resume.add_argument("--update", default="{}", help="JSON, or @file (with --skip)")
    resume.add_argument("--fresh", metavar="NODE", help="ask this node's calls anew, and pay for them again")

    _command(commands, "recover", "drive on every run whose process has died", graph=True)

    cancel = _command(commands, "cancel", "cancel a thread", graph=False)
    cancel.add_argument("thread")

    threads = _command(commands, "threads", "list the threads of a database", graph=False)
    threads.add_argument("--status", choices=["running", "interrupted", "done", "failed", "cancelled"])

    show = _command(commands, "show", "show a thread: where it stands and each of its calls", graph=False)
    show.add_argument("thread")
    show.add_argument("--full", action="store_true", help="print requests and answers whole")

    graph = commands.add_parser("graph", help="look at a graph without running it")
    actions = graph.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="run the static checks")
    check.add_argument("graph", metavar="MODULE:GRAPH")
    check.add_argument("--json", action="store_true", help="machine-readable output")

    if importlib.util.find_spec("vertebra.cli.demo.command") is not None:
        from vertebra.cli.demo.command import add_parser

        add_parser(commands)
    return root


def _command(commands: Any, name: str, text: str, *, graph: bool) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    if graph:
        command.add_argument("graph", metavar="MODULE:GRAPH", help="a Graph, such as agents.scribe:graph")
        command.add_argument("--model", help="the model for tasks that the graph's policy does not name")
    command.add_argument(
        "--store",
        default="sqlite:///vertebra.db",
        help="database URL: sqlite:///file or postgresql://... (default: %(default)s)",
    )
    command.add_argument("--json", action="store_true", help="machine-readable output")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "demo":
            from vertebra.cli.demo.command import run

            return int(run(options))
        from vertebra.cli import commands

        return commands.execute(options)
    except VertebraError as error:
        if getattr(options, "json", False):
            print(json.dumps({"error": error.to_json()}))
        else:
            print(f"vertebra: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("vertebra: stopped; resume or recover the thread to go on.", file=sys.stderr)
        return 130


def exit_code(error: VertebraError) -> int:
    """The documented exit code of an error."""
    from vertebra.errors import GraphChanged, StoreError, ThreadError

    if isinstance(error, UsageError):
        return 2
    if isinstance(error, ThreadError | GraphChanged):
        return 4
    if isinstance(error, StoreError):
        return 5
    return 1
