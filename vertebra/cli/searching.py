"""``vertebra memory search``: what was said, found again by its words or its meaning."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from typing import Any

from vertebra.cli.memory_arguments import default_memory
from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal, ago, clean
from vertebra.databases import StoreUrl
from vertebra.errors import UsageError
from vertebra.memory import Hit, Memory


def hit_data(hit: Hit) -> dict[str, Any]:
    """A hit, for ``--json``: where it stands, its score, and the part of its text with the words that were found."""
    return {
        "kind": hit.kind,
        "conversation": hit.conversation,
        "branch": hit.branch,
        "id": hit.id,
        "subject": hit.subject,
        "role": hit.role,
        "at": hit.at,
        "score": hit.score,
        "text_rank": hit.text_rank,
        "vector_rank": hit.vector_rank,
        "similarity": hit.similarity,
        "snippet": hit.snippet.text,
        "marks": [list(mark) for mark in hit.snippet.marks],
    }


def search(memory: Memory, options: argparse.Namespace) -> None:
    """Print what was found, best first; what waits for its vector is told on standard error."""
    if options.mode == "vectors" and options.embedder is None:
        raise UsageError("Nothing is found by vectors without an embedder.", remedy="add --embedder minilm.")
    found = memory.search_sync(
        options.query,
        tenant=options.tenant,
        subject=options.subject,
        conversation=options.conversation,
        roles=options.role or (),
        tags=options.tag or (),
        since=None if options.since is None else time.time() - options.since,
        limit=options.limit,
        mode=options.mode,
    )
    if found.waiting:
        told = counted(found.waiting, "entry has", "entries have")
        print(clean(f"{told} no vector of {options.embedder} yet: {_embed_command(options)}"), file=sys.stderr)
    if options.json:
        print(json.dumps([hit_data(hit) for hit in found]))
        return
    terminal, now = Terminal.of(sys.stdout), time.time()
    for hit in found:
        branch = "" if hit.branch == "main" else f" ({hit.branch})"
        what = hit.role if hit.kind == "message" else hit.kind
        print(terminal.line(f"{hit.conversation}{branch} {hit.id}: {what}, {ago(now - hit.at)}"))
        print(f"  {_marked(hit, terminal)}")
    print(f"{counted(len(found), 'hit')}.")


def _embed_command(options: argparse.Namespace) -> str:
    """What to type for it, as the search was typed."""
    words = ["vertebra", "memory", "embed", "--embedder", options.embedder]
    if options.tenant is not None:
        words += ["--tenant", options.tenant]
    if options.memory != default_memory():
        words += ["--memory", str(StoreUrl.parse(options.memory))]
    return shlex.join(words)


def _marked(hit: Hit, terminal: Terminal) -> str:
    """The snippet with the words that were asked for in bold, where there is colour."""
    text, parts, last = hit.snippet.text, [], 0
    for start, end in hit.snippet.marks:
        parts += [clean(text[last:start]), terminal.paint(clean(text[start:end]), "bold")]
        last = end
    return "".join([*parts, clean(text[last:])])
