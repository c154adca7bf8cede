"""The command line of ``vertebra memory``: its subcommands, their options, and an example of each."""

from __future__ import annotations

import argparse
import os
from typing import Any

from vertebra.cli import keeping_arguments
from vertebra.cli.options import add_json, command, count, span

DEFAULT_MEMORY = "sqlite:///memory.db"


def add_parser(commands: Any) -> None:
    """Add the command ``memory`` to the command line."""
    memory = commands.add_parser("memory", help="look at conversations and facts, carry them out and in, and end them")
    actions = memory.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (_ls, _show, _search, _embed, _export, _import, _rekey):
        add(actions)
    keeping_arguments.add_actions(actions, _where)


def _ls(actions: Any) -> None:
    ls = command(
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
    show = command(
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


def _search(actions: Any) -> None:
    search = command(
        actions,
        "search",
        "find what was said, by its words or its meaning, in all conversations of a memory, best first",
        "vertebra memory search 'coughing at night' --subject patient-7",
        "vertebra memory search penicillin --role user --since 30d --json | jq -r '.[].conversation'",
        "vertebra memory search 'what is he allergic to?' --embedder minilm",
    )
    search.add_argument("query", metavar="QUERY", help="plain text; nothing in it is an operator")
    search.add_argument("--subject", metavar="SUBJECT", help="only in conversations with this person or case")
    search.add_argument("--conversation", metavar="CONVERSATION", help="only in this one")
    search.add_argument("--role", metavar="ROLE", action="append", help="only what this role said; may be given again")
    search.add_argument("--tag", metavar="TAG", action="append", help="only with this tag; may be given again")
    search.add_argument("--since", type=span, metavar="SPAN", help="only what was said since, such as 30d, 12h, 45min")
    search.add_argument("--limit", type=count, metavar="N", default=10, help="at most so many (default: 10)")
    _embedder(search, help="find by meaning, too, by this one's vectors (see embed)", required=False)
    search.add_argument(
        "--mode",
        choices=("both", "text", "vectors"),
        default="both",
        help="by words and meaning, or by one of them (default: both, which without --embedder is text)",
    )
    _where(search)


def _embed(actions: Any) -> None:
    embed = command(
        actions,
        "embed",
        "make the vectors that a tenant's entries lack, so that they are found by meaning; it may be repeated",
        "vertebra memory embed --embedder minilm",
        "vertebra memory embed --embedder openai:text-embedding-3-large --limit 1000 --json",
    )
    _embedder(embed, help="who makes them", required=True)
    embed.add_argument("--limit", type=count, metavar="N", help="at most so many now")
    embed.add_argument(
        "--drop-others", action="store_true", help="when none is lacking, remove the vectors of other embedders"
    )
    _where(embed)


def _embedder(action: argparse.ArgumentParser, *, help: str, required: bool) -> None:
    action.add_argument(
        "--embedder",
        metavar="EMBEDDER",
        required=required,
        help=f"{help}: minilm, openai[:MODEL[:DIMENSIONS]] (OPENAI_BASE_URL, OPENAI_API_KEY), or hashing, for tests",
    )


def _export(actions: Any) -> None:
    export = command(
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
    bring = command(
        actions,
        "import",
        "write exported conversations into a memory; it may be repeated",
        "vertebra memory import clinic.jsonl --tenant clinic",
        "zcat visit-42.jsonl.gz | vertebra memory import -",
    )
    bring.add_argument("file", metavar="FILE", help="JSON Lines of an export, or - for standard input")
    _where(bring)


def _rekey(actions: Any) -> None:
    rekey = command(
        actions,
        "rekey",
        "bring a memory under the first key of VERTEBRA_ENCRYPTION_KEY; older ones open nothing of it after it",
        'VERTEBRA_ENCRYPTION_KEY="$NEW,$OLD" vertebra memory rekey --memory sqlite:///memory.db',
    )
    _memory(rekey)


def default_memory() -> str:
    """The memory of a command that names none."""
    return os.environ.get("VERTEBRA_MEMORY") or DEFAULT_MEMORY


def _where(action: argparse.ArgumentParser) -> None:
    action.add_argument("--tenant", metavar="TENANT", help="whose conversations (default: those of no tenant)")
    _memory(action)


def _memory(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--memory",
        metavar="URL",
        default=default_memory(),
        help=f"sqlite:///file or postgresql://... (default: $VERTEBRA_MEMORY, else {DEFAULT_MEMORY})",
    )
    add_json(action)
