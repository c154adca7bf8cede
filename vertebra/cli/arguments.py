"""The command line: every subcommand, its options, and an example of each."""

from __future__ import annotations

import argparse
import math
import os
import textwrap
from collections.abc import Callable
from typing import Any

from vertebra import __version__
from vertebra.errors import ConversationError, GraphChanged, StoreError, ThreadError, UsageError, VertebraError

EXIT_CODES = """exit codes:
  0    done
  1    the run failed, the graph has errors, or the claim is not proved
  2    the command line is wrong
  3    the run waits for an answer (interrupted)
  4    the thread or conversation cannot do that now (busy, not found, changed, cancelled); graph diff: one is refused
  5    the database cannot be used
  6    verified, a recorded thread came out otherwise
  130  interrupted from the keyboard; recover or resume goes on
  141  whoever read the output has gone away
  143  stopped by SIGTERM after the superstep it was in; recover goes on
"""

ENVIRONMENT = """environment:
  VERTEBRA_STORE   the default of --store
  VERTEBRA_MODEL   the default of --model
  VERTEBRA_MEMORY  the default of --memory
  VERTEBRA_ENCRYPTION_KEY   32 bytes in base64, for what is encrypted; old keys after a comma; never printed
  OPENAI_API_KEY, OPENAI_BASE_URL   as for openai; never stored, never printed
  NO_COLOR         set to anything: no colour
"""

DEFAULT_STORE = "sqlite:///vertebra.db"
STATUSES = ("running", "interrupted", "done", "failed", "cancelled")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="vertebra",
        description="Run, resume and look at agents that are explicit state graphs.",
        epilog=f"{EXIT_CODES}\n{ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"vertebra {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_run, _resume, _recover, _cancel, _threads, _show, _history, _fork, _verify, _export, _graph):
        add(commands)

    from vertebra.cli import memory_arguments
    from vertebra.cli.demo.command import add_parser

    memory_arguments.add_parser(commands)
    demo = add_parser(commands)
    demo.formatter_class = argparse.RawDescriptionHelpFormatter
    demo.description = textwrap.fill(demo.description or "", 78)
    demo.epilog = _examples("vertebra demo", "vertebra demo consultation.wav --yes --out visit")
    return root


def _run(commands: Any) -> None:
    run = _command(
        commands,
        "run",
        "start a run and drive it to its end or next question",
        """vertebra run agents:graph --input '{"text": "..."}' --thread visit-42""",
        "vertebra run agents:graph --input @visit.json --model gpt-5-mini --json",
    )
    _graph_argument(run)
    run.add_argument("--input", metavar="JSON", default="{}", help="the state's fields, or @file, or @- (default: {})")
    run.add_argument("--thread", help="thread id (default: a fresh one)")
    run.add_argument("--principal", help="on whose behalf")
    _waiting(run)
    _driving(run)


def _resume(commands: Any) -> None:
    resume = _command(
        commands,
        "resume",
        "drive a thread on, with an answer or from where it failed",
        """vertebra resume agents:graph visit-42 --answer '{"ok": true}'""",
        "vertebra resume agents:graph visit-42                  # from where it failed",
        "vertebra resume agents:graph visit-42 --skip draft --update @report.json",
    )
    _graph_argument(resume)
    resume.add_argument("thread", metavar="THREAD")
    what = resume.add_mutually_exclusive_group()
    what.add_argument("--answer", metavar="JSON", help="the answer to its question, or @file, or @-")
    what.add_argument("--skip", metavar="NODE", help="put --update in the place of what this node would return")
    what.add_argument("--fresh", metavar="NODE", help="ask this node's calls anew, and pay for them again")
    resume.add_argument("--interrupt", metavar="ID", help="which question, where several wait (with --answer)")
    resume.add_argument("--update", metavar="JSON", help="fields of the state, or @file, or @- (with --skip)")
    resume.add_argument("--principal", help="who answers, or acts by hand")
    _waiting(resume)
    _driving(resume)


def _recover(commands: Any) -> None:
    recover = _command(
        commands,
        "recover",
        "drive on every run whose process has died or whose deadline has passed",
        "vertebra recover agents:graph",
        "vertebra recover agents:graph --thread visit-42 --json",
    )
    _graph_argument(recover)
    recover.add_argument("--thread", help="only this one")
    _driving(recover)


def _cancel(commands: Any) -> None:
    cancel = _command(
        commands,
        "cancel",
        "cancel a thread; if a process drives it, ask that process to stop",
        "vertebra cancel visit-42",
    )
    cancel.add_argument("thread", metavar="THREAD")
    _store(cancel)


def _threads(commands: Any) -> None:
    threads = _command(
        commands,
        "threads",
        "list the threads of a database, latest first",
        "vertebra threads --status interrupted",
        "vertebra threads --json | jq -r '.[] | select(.recoverable) | .thread'",
    )
    threads.add_argument("--status", choices=STATUSES, help="only those that stand so")
    threads.add_argument("--graph", metavar="NAME", help="only those of this graph")
    threads.add_argument("--limit", type=_count, metavar="N", help="at most so many")
    _store(threads)


def _show(commands: Any) -> None:
    show = _command(
        commands,
        "show",
        "show a thread: where it stands, what it asks, and each of its calls",
        "vertebra show visit-42",
        "vertebra show visit-42 --json | jq '.calls[] | {node, input_tokens, source}'",
    )
    show.add_argument("thread", metavar="THREAD")
    show.add_argument("--full", action="store_true", help="print requests and answers whole")
    _store(show)


def _history(commands: Any) -> None:
    history = _command(
        commands,
        "history",
        "show the edges of a thread and the threads that were forked from it, as a tree",
        "vertebra history visit-42",
        "vertebra history visit-42 --json | jq -r '.edges[-2].checkpoint_id'",
    )
    history.add_argument("thread", metavar="THREAD")
    _store(history)


def _fork(commands: Any) -> None:
    fork = _command(
        commands,
        "fork",
        "make a thread that goes on from where another stood; resume drives it",
        "vertebra fork agents:graph visit-42 --thread visit-42b",
        """vertebra fork agents:graph visit-42 --at 1f0a... --update '{"tone": "kind"}' --fresh""",
    )
    _graph_argument(fork)
    fork.add_argument("thread", metavar="THREAD")
    fork.add_argument("--at", metavar="CHECKPOINT", help="a checkpoint of its history (default: the latest)")
    fork.add_argument("--update", metavar="JSON", help="fields of the state, or @file, or @-")
    fork.add_argument("--as-node", metavar="NODE", help="the node that would have returned it (default: the last)")
    fork.add_argument("--fresh", action="store_true", help="without the recorded answers: ask anew, and pay again")
    fork.add_argument("--thread", dest="fork_id", metavar="FORK", help="id of the new thread (default: a fresh one)")
    _store(fork)


def _verify(commands: Any) -> None:
    verify = _command(
        commands,
        "verify",
        "replay recorded threads against today's code: nothing is sent, done or written",
        "vertebra verify agents:graph visit-42",
        "vertebra verify agents:graph --all --since 30d",
        "vertebra verify agents:graph --file tests/visit-42.json",
    )
    _graph_argument(verify)
    verify.add_argument("threads", metavar="THREAD", nargs="*")
    verify.add_argument("--all", action="store_true", help="every thread of this graph")
    verify.add_argument(
        "--since", type=_span, metavar="SPAN", help="with --all: updated since, such as 30d, 12h, 45min"
    )
    verify.add_argument("--file", metavar="FILE", action="append", help="a thread that `vertebra export` has written")
    verify.add_argument(
        "--model", default=os.environ.get("VERTEBRA_MODEL") or None, help="as for run (default: as recorded)"
    )
    _store(verify)


def _export(commands: Any) -> None:
    export = _command(
        commands,
        "export",
        "write a recorded thread as JSON, to be verified from that file",
        "vertebra export agents:graph visit-42 > tests/visit-42.json",
    )
    _graph_argument(export)
    export.add_argument("thread", metavar="THREAD")
    _store(export)


def _graph(commands: Any) -> None:
    graph = commands.add_parser("graph", help="look at a graph without running it")
    actions = graph.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = _command(actions, "check", "run the static checks", "vertebra graph check agents:graph", within="graph ")
    _graph_argument(check)
    _json(check)
    prove = _command(
        actions,
        "prove",
        "prove a claim about every path, or show the shortest path that breaks it",
        "vertebra graph prove agents:graph --node approve --before pay",
        "vertebra graph prove agents:graph --node validate --between draft,send",
        "vertebra graph prove agents:graph --never draft --after send",
        "vertebra graph prove agents:graph --at-most draft,3",
        "vertebra graph prove agents:graph --eventually END",
    )
    _graph_argument(prove)
    prove.add_argument("--node", metavar="NODE", help="what --before or --between is about")
    prove.add_argument("--before", metavar="NODE", help="--node has run before this one does")
    prove.add_argument("--between", metavar="NODE,NODE", help="--node runs after the first, before the second")
    prove.add_argument("--never", metavar="NODE", help="this one does not run after --after")
    prove.add_argument("--after", metavar="NODE", help="with --never")
    prove.add_argument("--at-most", metavar="NODE,N", help="this node runs at most so many times in a run")
    prove.add_argument("--eventually", metavar="NODE", help="every path leads through this node; END: to its end")
    _json(prove)
    bounds = _command(
        actions, "bounds", "count visits and model calls of the worst case", "vertebra graph bounds agents:graph"
    )
    _graph_argument(bounds)
    _json(bounds)
    diff = _command(
        actions,
        "diff",
        "tell what threads in flight would meet under another version of their graph",
        "vertebra graph diff agents.v1:graph agents.v2:graph",
        "vertebra graph diff agents.v1:graph agents.v2:graph --store sqlite:///visits.db --json",
        within="graph ",
    )
    diff.add_argument("old", metavar="OLD", help="the Graph that started them, as MODULE:GRAPH")
    diff.add_argument("new", metavar="NEW", help="the Graph that would drive them on, as MODULE:GRAPH")
    diff.add_argument("--store", metavar="URL", help="also count the threads in flight of this database")
    _json(diff)


def _command(commands: Any, name: str, text: str, *examples: str, within: str = "") -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=_examples(*examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return command


def _examples(*lines: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def _graph_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("graph", metavar="MODULE:GRAPH", help="a Graph, such as agents.scribe:graph")


def _waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="for another process to be done with the thread (default: 0)",
    )


def _driving(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        default=os.environ.get("VERTEBRA_MODEL") or None,
        help="for tasks that the graph's policy does not name (default: $VERTEBRA_MODEL)",
    )
    command.add_argument("-v", "--verbose", action="store_true", help="tell of each node on standard error")
    _store(command)


def _store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("VERTEBRA_STORE") or DEFAULT_STORE,
        help=f"sqlite:///file or postgresql://... (default: $VERTEBRA_STORE, else {DEFAULT_STORE})",
    )
    _json(command)


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="machine-readable output")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError("seconds, 0 or more")
    return seconds


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _span(text: str) -> float:
    for unit, seconds in (("min", 60), ("h", 3600), ("d", 86400)):
        if text.endswith(unit):
            return _seconds(text.removesuffix(unit)) * seconds
    raise argparse.ArgumentTypeError("a number and d, h or min")


def require_fitting(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing together. Raises ``UsageError``."""
    if options.command == "verify" and not (options.threads or options.all or options.file):
        raise UsageError("Nothing is named to verify.", remedy="name threads, or add --all or --file FILE.")
    needs: dict[str, Callable[[], Any]] = {"update": lambda: options.skip, "interrupt": lambda: options.answer}
    for name, needed in needs.items():
        if options.command == "resume" and getattr(options, name) is not None and needed() is None:
            other = "--skip NODE" if name == "update" else "--answer JSON"
            raise UsageError(f"--{name} does nothing without {other}.", remedy=f"add {other}, or leave it out.")


def exit_code(error: VertebraError) -> int:
    """The documented exit code of an error."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, ThreadError | GraphChanged | ConversationError):
        return 4
    if isinstance(error, StoreError):
        return 5
    return 1


__all__ = ["DEFAULT_STORE", "EXIT_CODES", "exit_code", "parser", "require_fitting"]
