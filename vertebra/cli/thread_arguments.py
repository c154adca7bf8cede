"""The command line of what is done with threads but drive them: threads, show, history, fork, verify, export, prune,
rekey.
"""

from __future__ import annotations

import os
from typing import Any

from vertebra.cli.options import add_graph, add_memory, add_store, command, count, span

STATUSES = ("running", "interrupted", "done", "failed", "cancelled")


def add_parsers(commands: Any) -> None:
    """Add these commands to the command line."""
    for add in (_threads, _show, _history, _fork, _verify, _export, _prune, _rekey):
        add(commands)


def _threads(commands: Any) -> None:
    threads = command(
        commands,
        "threads",
        "list the threads of a database, latest first",
        "vertebra threads --status interrupted",
        "vertebra threads --json | jq -r '.[] | select(.recoverable) | .thread'",
    )
    threads.add_argument("--status", choices=STATUSES, help="only those that stand so")
    threads.add_argument("--graph", metavar="NAME", help="only those of this graph")
    threads.add_argument("--limit", type=count, metavar="N", help="at most so many")
    add_store(threads)


def _show(commands: Any) -> None:
    show = command(
        commands,
        "show",
        "show a thread: where it stands, what it asks, and each of its calls",
        "vertebra show visit-42",
        "vertebra show visit-42 --json | jq '.calls[] | {node, input_tokens, source}'",
    )
    show.add_argument("thread", metavar="THREAD")
    show.add_argument("--full", action="store_true", help="print requests and answers whole")
    add_store(show)


def _history(commands: Any) -> None:
    history = command(
        commands,
        "history",
        "show the edges of a thread and the threads that were forked from it, as a tree",
        "vertebra history visit-42",
        "vertebra history visit-42 --json | jq -r '.edges[-2].checkpoint_id'",
    )
    history.add_argument("thread", metavar="THREAD")
    add_store(history)


def _fork(commands: Any) -> None:
    fork = command(
        commands,
        "fork",
        "make a thread that goes on from where another stood; resume drives it",
        "vertebra fork agents:graph visit-42 --thread visit-42b",
        """vertebra fork agents:graph visit-42 --at 1f0a... --update '{"tone": "kind"}' --fresh""",
    )
    add_graph(fork)
    fork.add_argument("thread", metavar="THREAD")
    fork.add_argument("--at", metavar="CHECKPOINT", help="a checkpoint of its history (default: the latest)")
    fork.add_argument("--update", metavar="JSON", help="fields of the state, or @file, or @-")
    fork.add_argument("--as-node", metavar="NODE", help="the node that would have returned it (default: the last)")
    fork.add_argument("--fresh", action="store_true", help="without the recorded answers: ask anew, and pay again")
    fork.add_argument("--thread", dest="fork_id", metavar="FORK", help="id of the new thread (default: a fresh one)")
    add_store(fork)


def _verify(commands: Any) -> None:
    verify = command(
        commands,
        "verify",
        "replay recorded threads against today's code: nothing is sent, done or written",
        "vertebra verify agents:graph visit-42",
        "vertebra verify agents:graph --all --since 30d",
        "vertebra verify agents:graph --file tests/visit-42.json",
    )
    add_graph(verify)
    verify.add_argument("threads", metavar="THREAD", nargs="*")
    verify.add_argument("--all", action="store_true", help="every thread of this graph")
    verify.add_argument("--since", type=span, metavar="SPAN", help="with --all: updated since, such as 30d, 12h, 45min")
    verify.add_argument("--file", metavar="FILE", action="append", help="a thread that `vertebra export` has written")
    verify.add_argument(
        "--model", default=os.environ.get("VERTEBRA_MODEL") or None, help="as for run (default: as recorded)"
    )
    add_memory(verify)
    add_store(verify)


def _export(commands: Any) -> None:
    export = command(
        commands,
        "export",
        "write a recorded thread as JSON, to be verified from that file",
        "vertebra export agents:graph visit-42 > tests/visit-42.json",
    )
    add_graph(export)
    export.add_argument("thread", metavar="THREAD")
    add_store(export)


def _prune(commands: Any) -> None:
    prune = command(
        commands,
        "prune",
        "let go of ended threads, or of their history or recorded answers, and give the room back",
        "vertebra prune --older-than 30d                        # done and cancelled threads, whole",
        "vertebra prune --status failed --older-than 90d --dry-run",
        "vertebra prune --keep 20                               # of each thread the last 20 checkpoints",
        "vertebra prune --answers --older-than 14d              # tokens, times and hashes stay",
    )
    prune.add_argument(
        "--older-than",
        type=span,
        metavar="SPAN",
        help="nothing has happened to it for so long, such as 30d, 12h, 45min",
    )
    prune.add_argument(
        "--status",
        action="append",
        choices=("done", "failed", "cancelled"),
        help="only those that stand so; may be repeated (default: done and cancelled; with --keep alone failed, too)",
    )
    prune.add_argument("--graph", metavar="NAME", help="only those of this graph")
    prune.add_argument("--keep", type=count, metavar="N", help="keep threads, and of each its last N checkpoints")
    prune.add_argument(
        "--answers", action="store_true", help="keep threads, and let go what their calls asked and were answered"
    )
    prune.add_argument("--dry-run", action="store_true", help="tell what would go, and change nothing")
    add_store(prune)


def _rekey(commands: Any) -> None:
    rekey = command(
        commands,
        "rekey",
        "bring a database under the first key of VERTEBRA_ENCRYPTION_KEY; older ones open nothing after it",
        'VERTEBRA_ENCRYPTION_KEY="$NEW,$OLD" vertebra rekey',
        'VERTEBRA_ENCRYPTION_KEY="$KEY" vertebra rekey --encrypt   # a SQLite file that is plain until now',
    )
    rekey.add_argument(
        "--encrypt",
        action="store_true",
        help="seal all of threads that is plain, and write the file anew so that nothing of it is left; "
        "nobody else may have it open",
    )
    add_store(rekey)
