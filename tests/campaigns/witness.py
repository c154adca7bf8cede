"""A witness beside the store: which nodes were started on what checkpoint, and each attempt of each effect.

It writes to files that are only ever appended to, by one write a line, so that a kill takes nothing from it
(not synced: processes die here, machines do not).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Look = Callable[[str, str], int | None]
"""The step of the newest checkpoint of a thread and namespace, as anybody else sees it; None: there is none."""


@dataclass(frozen=True)
class Witness:
    """The notes in one folder; ``look`` goes to the store by a connection of its own."""

    folder: Path
    look: Look | None = None

    def started(self, node: str, config: Mapping[str, Any]) -> None:
        """A node's body begins: note it, and how far the thread is durable at this instant."""
        metadata = config["metadata"]
        loop, _, task = str(metadata["langgraph_checkpoint_ns"]).rpartition("|")
        place = {"node": node, "step": metadata["langgraph_step"], "loop": loop, "task": task.rpartition(":")[2]}
        if self.look is not None:
            place["durable"] = self.look(config["configurable"]["thread_id"], loop)
        self.note("started", **place)

    def attempted(self, effect: str, key: str | None) -> int:
        """The other system is asked to do something: how often it has been asked for this, now included."""
        self.note("effects", effect=effect, key=key)
        return sum(1 for line in self.read("effects") if line["effect"] == effect)

    def read(self, kind: str) -> list[dict[str, Any]]:
        file = self.folder / f"{kind}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def note(self, kind: str, **what: Any) -> None:
        """Append one line to the notes of a kind."""
        descriptor = os.open(self.folder / f"{kind}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, (json.dumps(what) + "\n").encode())
        finally:
            os.close(descriptor)


current_witness: ContextVar[Witness] = ContextVar("campaign_witness")
