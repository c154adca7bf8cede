"""A recorded thread as one value: read from a store, written as JSON that can be committed, read back.

What was asked and answered is text. Checkpoints are MessagePack in base64: their types come back only where
the state's schema names them, and nothing in them is ever executed. No key is in it: none is ever recorded.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.recordings import COLUMNS
from vertebra.checkpointers.savers import serializer
from vertebra.errors import UsageError
from vertebra.graphs.definition import Definition
from vertebra.runtime.compiling import state_types
from vertebra.runtime.edges import parent_id
from vertebra.runtime.snapshots import checkpoint_config

if TYPE_CHECKING:
    from vertebra.runtime.app import App

FORMAT = 1
_ABOUT = ("thread", "graph", "version", "fingerprint", "shape", "status", "run_id", "branch", "principal", "seed")
_STATE = {"id": str, "channel_values": Mapping, "channel_versions": Mapping, "versions_seen": Mapping}


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint with what the tasks after it have written: task, channel, value."""

    id: str
    parent: str | None
    metadata: Mapping[str, Any]
    state: Any
    writes: tuple[tuple[str, str, Any], ...]


@dataclass(frozen=True)
class Recorded:
    """A thread as it was recorded. ``about`` has the keys of ``_ABOUT``."""

    about: Mapping[str, Any]
    rows: Mapping[str, Any]
    checkpoints: tuple[Checkpoint, ...]
    """Oldest first."""


async def read_thread(app: App, thread: str) -> Recorded:
    """Read a thread from the app's store, and write nothing. Raises ``ThreadNotFound``."""
    store = app.services.store
    record = await store.runs.require(thread)
    found = [item async for item in store.saver.alist(checkpoint_config(thread))]
    checkpoints = [
        Checkpoint(
            item.checkpoint["id"],
            parent_id(item),
            dict(item.metadata or {}),
            item.checkpoint,
            tuple((task, channel, value) for task, channel, value in item.pending_writes or ()),
        )
        for item in reversed(found)
    ]
    return Recorded(
        {key: getattr(record, key) for key in _ABOUT}, await store.recordings.read(thread), tuple(checkpoints)
    )


def to_json(app: App, recorded: Recorded) -> dict[str, Any]:
    """The thread as plain data. Raises ``UsageError`` for state that only pickle could keep."""
    codec = Codec(app.definition)
    return {
        "vertebra": FORMAT,
        "thread": dict(recorded.about),
        **{table: [_plain_row(row) for row in rows] for table, rows in recorded.rows.items()},
        "checkpoints": [
            {
                "id": item.id,
                "parent": item.parent,
                "metadata": dict(item.metadata),
                "state": codec.text(item.state),
                "writes": [[task, channel, codec.text(value)] for task, channel, value in item.writes],
            }
            for item in recorded.checkpoints
        ],
    }


def from_json(app: App, data: Mapping[str, Any]) -> Recorded:
    """The inverse of ``to_json``. Raises ``UsageError`` for anything else, and says what it lacks."""
    if not isinstance(data, Mapping) or data.get("vertebra") != FORMAT:
        raise UsageError(
            f"This is no recorded thread of format {FORMAT}.",
            remedy="record it with `vertebra export` or app.export().",
        )
    codec = Codec(app.definition)
    about = _entries(data.get("thread"), "thread", dict.fromkeys(_ABOUT, object) | {"thread": str, "shape": Mapping})
    rows = {
        table: [_row(row, f"{table}[{at}]", columns) for at, row in enumerate(_list(data.get(table), table))]
        for table, columns in COLUMNS.items()
    }
    found = _list(data.get("checkpoints"), "checkpoints")
    checkpoints = [_checkpoint(codec, item, f"checkpoints[{at}]") for at, item in enumerate(found)]
    return Recorded(about, rows, tuple(checkpoints))


def damaged(what: str) -> UsageError:
    """For a recorded thread that no export has written so."""
    return UsageError(f"The recorded thread is damaged: {what}.", remedy="record it again.")


def _checkpoint(codec: Codec, item: Any, where: str) -> Checkpoint:
    entries = _entries(item, where, {"id": str, "parent": (str, NoneType), "metadata": Mapping, "state": str})
    metadata = entries["metadata"]
    if not isinstance(metadata.get("step", 0), int):
        raise damaged(f"{where}.metadata.step is no number")
    state = _value(codec, entries["state"], f"{where}.state")
    _entries(state, f"{where}.state", _STATE)
    writes = []
    for at, write in enumerate(_list(item.get("writes"), f"{where}.writes")):
        here = f"{where}.writes[{at}]"
        if not isinstance(write, list) or [type(part) for part in write] != [str, str, str]:
            raise damaged(f"{here} is not task, channel and value")
        writes.append((write[0], write[1], _value(codec, write[2], here)))
    return Checkpoint(entries["id"], entries["parent"], metadata, state, tuple(writes))


def _entries(value: Any, where: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise damaged(f"{where} is no object" if value is not None else f"it has no {where}")
    for key, kind in kinds.items():
        if key not in value:
            raise damaged(f"{where} has no {key}")
        if not isinstance(value[key], kind):
            raise damaged(f"{where}.{key} is not what it should be")
    return {key: value[key] for key in kinds}


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise damaged(f"{where} is no list" if value is not None else f"it has no {where}")
    return value


def _value(codec: Codec, text: str, where: str) -> Any:
    try:
        return codec.value(text)
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, binascii.Error) as error:
        raise damaged(f"{where} cannot be read ({type(error).__name__})") from None


def _plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _text(value) if isinstance(value, bytes) else value for key, value in row.items()}


def _text(value: bytes) -> Any:
    try:
        return {"text": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _row(row: Any, where: str, columns: Sequence[str]) -> dict[str, Any]:
    entries = _entries(row, where, dict.fromkeys(columns, object))
    return {key: _bytes(value, f"{where}.{key}") for key, value in entries.items()}


def _bytes(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    try:
        return value["text"].encode() if "text" in value else base64.b64decode(value["base64"], validate=True)
    except (ValueError, TypeError, LookupError, AttributeError, binascii.Error):
        raise damaged(f"{where} is neither text nor base64") from None


class Codec:
    """State as bytes and text: MessagePack of the types of a graph's state. Pickle is neither written nor read."""

    def __init__(self, definition: Definition | None) -> None:
        if definition is None:
            raise UsageError(
                "The graph is adopted from LangGraph: what its nodes do is not declared, so nothing can be replayed.",
                remedy="build it as a Graph, with @transition, @llm, @effect and @human nodes.",
            )
        self._serde = serializer(state_types(definition))

    def text(self, value: Any) -> str:
        """The value as text. Raises ``UsageError`` for what only pickle could keep."""
        try:
            kind, data = self._serde.dumps_typed(value)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"The thread's state cannot be exported: {error}.",
                remedy="use types that MessagePack can keep, such as pydantic models and plain data, not pickle.",
            ) from error
        return f"{kind}:{base64.b64encode(data).decode()}"

    def value(self, text: str) -> Any:
        """The inverse of ``text``. Raises ``UsageError``."""
        kind, _, data = text.partition(":")
        return self._load(kind, base64.b64decode(data, validate=True))

    def unpack(self, data: bytes) -> Any:
        """What ``App.pack`` has written. Raises ``UsageError``."""
        kind, _, packed = data.partition(b"\n")
        return self._load(kind.decode(), packed)

    def _load(self, kind: str, data: bytes) -> Any:
        if kind == "pickle":
            raise UsageError(
                "The recorded thread holds pickle, which is not read.", remedy="record it with a store of ours."
            )
        return self._serde.loads_typed((kind, data))
