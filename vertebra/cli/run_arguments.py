"""The command line of what drives threads: run, resume, recover and cancel."""

from __future__ import annotations

import argparse
from typing import Any

from vertebra.cli.options import add_driving, add_graph, add_store, command, seconds


def add_parsers(commands: Any) -> None:
    """Add these commands to the command line."""
    for add in (_run, _resume, _recover, _cancel):
        add(commands)


def _run(commands: Any) -> None:
    run = command(
        commands,
        "run",
        "start a run and drive it to its end or next question",
        """vertebra run agents:graph --input '{"text": "..."}' --thread visit-42""",
        "vertebra run agents:graph --input @visit.json --model gpt-5-mini --json",
    )
    add_graph(run)
    run.add_argument("--input", metavar="JSON", default="{}", help="the state's fields, or @file, or @- (default: {})")
    run.add_argument("--thread", help="thread id (default: a fresh one)")
    run.add_argument("--principal", help="on whose behalf")
    _waiting(run)
    add_driving(run)


def _resume(commands: Any) -> None:
    resume = command(
        commands,
        "resume",
        "drive a thread on, with an answer or from where it failed",
        """vertebra resume agents:graph visit-42 --answer '{"ok": true}'""",
        "vertebra resume agents:graph visit-42                  # from where it failed",
        "vertebra resume agents:graph visit-42 --skip draft --update @report.json",
    )
    add_graph(resume)
    resume.add_argument("thread", metavar="THREAD")
    what = resume.add_mutually_exclusive_group()
    what.add_argument("--answer", metavar="JSON", help="the answer to its question, or @file, or @-")
    what.add_argument("--skip", metavar="NODE", help="put --update in the place of what this node would return")
    what.add_argument("--fresh", metavar="NODE", help="ask this node's calls anew, and pay for them again")
    resume.add_argument("--interrupt", metavar="ID", help="which question, where several wait (with --answer)")
    resume.add_argument("--update", metavar="JSON", help="fields of the state, or @file, or @- (with --skip)")
    resume.add_argument("--principal", help="who answers, or acts by hand")
    _waiting(resume)
    add_driving(resume)


def _recover(commands: Any) -> None:
    recover = command(
        commands,
        "recover",
        "drive on every run whose process has died or whose deadline has passed",
        "vertebra recover agents:graph",
        "vertebra recover agents:graph --thread visit-42 --json",
    )
    add_graph(recover)
    recover.add_argument("--thread", help="only this one")
    add_driving(recover)


def _cancel(commands: Any) -> None:
    cancel = command(
        commands,
        "cancel",
        "cancel a thread; if a process drives it, ask that process to stop",
        "vertebra cancel visit-42",
    )
    cancel.add_argument("thread", metavar="THREAD")
    add_store(cancel)


def _waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="for another process to be done with the thread (default: 0)",
    )
