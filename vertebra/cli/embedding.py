"""``vertebra memory embed``: the vectors that a memory lacks, made by the embedder that ``--embedder`` names."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal
from vertebra.errors import UsageError
from vertebra.memory import Embedded, Embedder, HashingEmbedder, Memory, MiniLMEmbedder, OpenAIEmbedder
from vertebra.memory.recall.pending import CLAIM_S

CHUNK = 256
OPENAI_MODEL = "text-embedding-3-small"


def embedder_of(named: str | None) -> Embedder | None:
    """Of ``minilm``, ``openai[:MODEL[:DIMENSIONS]]`` and ``hashing``. Raises ``UsageError`` and ``MissingExtra``."""
    if named is None:
        return None
    kind, _, model = named.partition(":")
    if kind == "openai":
        name, _, last = model.rpartition(":")
        if name and last.isdecimal():
            return OpenAIEmbedder(name, int(last))
        return OpenAIEmbedder(model or OPENAI_MODEL)
    if kind == "minilm" and not model:
        return MiniLMEmbedder()
    if kind == "hashing" and not model:
        return HashingEmbedder()
    raise UsageError(f"There is no embedder {named!r}.", remedy="minilm, openai, openai:MODEL:DIMENSIONS, hashing.")


def embed(memory: Memory, options: argparse.Namespace) -> None:
    """Embed what waits, chunk by chunk; each is kept once it is made, so that a command that is killed is repeated."""
    terminal, done = Terminal.of(sys.stderr), 0
    shows = terminal.width is not None and not options.json
    while True:
        left = CHUNK if options.limit is None else min(CHUNK, options.limit - done)
        made = memory.embed_pending_sync(tenant=options.tenant, limit=left)
        done += made.embedded
        if shows:
            sys.stderr.write(f"\r{done} of {counted(done + made.waiting, 'entry', 'entries')}\x1b[K")
            sys.stderr.flush()
        if not made.embedded or not made.waiting:
            break
    if shows:
        sys.stderr.write("\r\x1b[K")
    if options.drop_others and not made.waiting:
        memory.embed_pending_sync(tenant=options.tenant, limit=0, drop_others=True)
    is_limited = options.limit is not None and done >= options.limit
    _tell(Embedded(done, made.waiting), memory, options, others=bool(made.waiting) and not is_limited)


def embedded_data(told: Embedded, embedder: str) -> dict[str, Any]:
    """What was embedded, for ``--json``."""
    return {**asdict(told), "embedder": embedder}


def _tell(told: Embedded, memory: Memory, options: argparse.Namespace, *, others: bool) -> None:
    name = "" if memory.embedder is None else memory.embedder.name
    if options.json:
        print(json.dumps(embedded_data(told, name)))
        return
    left = counted(told.waiting, "entry", "entries")
    waiting = f"; {left} left" if told.waiting else ""
    print(f"{counted(told.embedded, 'entry', 'entries')} embedded by {name}{waiting}.")
    if others:
        minutes = round(CLAIM_S / 60)
        print(f"Another process has taken them on; if it was stopped, do this again in {minutes} minutes.")
