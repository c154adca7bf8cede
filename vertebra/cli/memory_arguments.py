"""The command line of ``vertebra memory``: its subcommands, their options, and an example of each."""

from __future__ import annotations

import argparse
import os
from typing import Any

DEFAULT_MEMORY = "sqlite:///memory.db"


def add_parser(commands: Any) -> None:
    """Add the command ``memory`` to the command line."""
    memory = commands.add_parser("memory", help="look at conversations, carry them out and in")
    actions = memory.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (_ls, _show, _export, _import):
        add(actions)


def _ls(actions: Any) -> None:
    ls = _command(
        actions,
        "ls",
        "list the conversations of a memory, latest first",
        "vertebra memory ls --subject patient-7",
        "vertebra memory ls --tag open --json | jq -r '.[].id'",
    )
    ls.add_argument("--subject", metavar="SUBJECT", help="only those with this person or case")
    ls.add_argument("--tag", metavar="TAG", action="append", help="only those with this tag; may be given again")
    ls.add_argument("--limit", type=count, metavar="N", help="at most so many")
    _where(ls)


def _show(actions: Any) -> None:
    show = _command(
        actions,
        "show",
        "show a conversation: its branches, and the messages of one of them",
        "vertebra memory show visit-42 --last 20",
        "vertebra memory show visit-42 --branch retry --json | jq '.messages[].message'",
    )
    show.add_argument("conversation", metavar="CONVERSATION")
    show.add_argument("--branch", metavar="NAME", default="main", help="which branch (default: main)")
    show.add_argument("--last", type=count, metavar="N", help="only so many messages, the newest")
    _where(show)


def _export(actions: Any) -> None:
    export = _command(
        actions,
        "export",
        "write conversations as JSON Lines: one, a subject's, or all of a tenant's",
        "vertebra memory export --tenant clinic --out clinic.jsonl",
        "vertebra memory export visit-42 | gzip > visit-42.jsonl.gz",
    )
    export.add_argument("conversation", metavar="CONVERSATION", nargs="?", help="only this one (default: all)")
    export.add_argument("--subject", metavar="SUBJECT", help="only those with this person or case")
    export.add_argument("--out", metavar="FILE", help="where to (default: standard output)")
    _where(export)


def _import(actions: Any) -> None:
    command = _command(
        actions,
        "import",
        "write exported conversations into a memory; it may be repeated",
        "vertebra memory import clinic.jsonl --tenant clinic",
        "zcat visit-42.jsonl.gz | vertebra memory import -",
    )
    command.add_argument("file", metavar="FILE", help="JSON Lines of an export, or - for standard input")
    _where(command)


def _command(actions: Any, name: str, text: str, *examples: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return command


def _where(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenant", metavar="TENANT", help="whose conversations (default: those of no tenant)")
    command.add_argument(
        "--memory",
        metavar="URL",
        default=os.environ.get("VERTEBRA_MEMORY") or DEFAULT_MEMORY,
        help=f"sqlite:///file or postgresql://... (default: $VERTEBRA_MEMORY, else {DEFAULT_MEMORY})",
    )
    command.add_argument("--json", action="store_true", help="machine-readable output")


def count(text: str) -> int:
    """A number of things, at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
