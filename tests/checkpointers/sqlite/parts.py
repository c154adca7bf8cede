"""What tests of the SQLite checkpointer are made of."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.base.id import uuid6


def url_of(path: Path) -> str:
    return f"sqlite:////{str(path).lstrip('/')}?durability=process"


def at(thread: str = "t", namespace: str = "", checkpoint: str | None = None) -> Any:
    place = {"thread_id": thread, "checkpoint_ns": namespace}
    return {"configurable": place if checkpoint is None else {**place, "checkpoint_id": checkpoint}}


class Line:
    """One thread that puts the values of its channels, one checkpoint after the other."""

    def __init__(self, saver: BaseCheckpointSaver[Any], thread: str = "t", namespace: str = "") -> None:
        self.saver = saver
        self.config = at(thread, namespace)
        self.versions: dict[str, Any] = {}
        self.step = -1

    def put(self, values: dict[str, Any], *changed: str, **metadata: Any) -> Any:
        """Put all values, of which those named (by default all) have changed."""
        new = {name: self.saver.get_next_version(self.versions.get(name), None) for name in changed or values}
        self.versions = {**self.versions, **new}
        self.step += 1
        checkpoint: Any = {
            "v": 4,
            "id": str(uuid6(clock_seq=-2)),
            "ts": "2026-11-23T14:00:00+00:00",
            "channel_values": dict(values),
            "channel_versions": dict(self.versions),
            "versions_seen": {},
            "updated_channels": sorted(new),
        }
        given: Any = {"source": "loop", "step": self.step, **metadata}
        self.config = self.saver.put(self.config, checkpoint, given, new)
        return self.config

    def values(self, config: Any = None) -> dict[str, Any]:
        return values_of(self.saver, config or self.config)


def values_of(saver: BaseCheckpointSaver[Any], config: Any) -> dict[str, Any]:
    found = saver.get_tuple(config)
    assert found is not None
    return found.checkpoint["channel_values"]


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def stored_bytes(path: Path) -> int:
    return int(rows(path, "SELECT coalesce(sum(length(data)), 0) FROM vertebra_state_pieces")[0][0])
