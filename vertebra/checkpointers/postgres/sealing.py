"""What LangGraph's tables are given in an encrypted store: blobs that open at their place alone, and a sealed head.

LangGraph's saver writes some of a checkpoint as JSON: small values, metadata, the versions of channels. All of that is
sealed together as the checkpoint's head, in one entry of its metadata. What queries need stays beside it, readable, but
is not what is handed out: that comes from the head, so that nobody turns a checkpoint's channels back to older blobs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple, get_serializable_checkpoint_metadata

from vertebra.checkpointers.pieces.codec import Codec
from vertebra.errors import ContentTampered

SEALED = "vertebra.sealed"
"""The kind of a sealed blob that is no mark."""

BLOB, WRITE, HEAD = "blob", "write", "head"
"""Places: with namespace and channel; with namespace, task and channel; with namespace, id and parent."""

_ENTRY = "vertebra_sealed"
_SHOWN = ("source", "step", "parents", "run_id", "counters_since_delta_snapshot", "delta_writes_versioned")


@dataclass(frozen=True, slots=True)
class Stored:
    """In place of a value: what refers to its pieces."""

    ref: Any


@dataclass(frozen=True, slots=True)
class Sealed:
    """In place of a value: its blob, of this kind."""

    kind: str
    data: bytes


def seal_value(codec: Codec, mark: str, value: Any, version: str | None, *place: str) -> Sealed:
    """A value, or what refers to its pieces, as a blob; ``mark`` is the kind of the latter."""
    is_mark = isinstance(value, Stored)
    plain = codec.dump([version, is_mark, codec.dump(value.ref if is_mark else value)])
    return Sealed(mark if is_mark else SEALED, codec.seal(plain, *place))


def open_value(codec: Codec, value: Any, *place: str) -> tuple[str | None, Any]:
    """The inverse of ``seal_value``: version and value, or a ``Stored``. Raises ``EncryptionError``."""
    if not isinstance(value, Sealed):
        raise ContentTampered(f"Plain content stands where sealed content should: {' '.join(place)}.")
    version, is_mark, typed = codec.load(codec.unseal(value.data, *place))
    loaded = codec.load(typed)
    return version, Stored(loaded) if is_mark else loaded


def seal_checkpoint(
    codec: Codec, mark: str, place: Any, checkpoint: Mapping[str, Any], metadata: Any, changed: Collection[str]
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Config, checkpoint and metadata for LangGraph's saver, of a thread with this codec."""
    at = place["configurable"]
    namespace, parent = str(at["checkpoint_ns"]), at.get("checkpoint_id")
    versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
    inline = {name: value for name, value in values.items() if _is_small(value)}
    blobs = {
        # What has not changed is there already, under its version, and is not written.
        name: seal_value(codec, mark, value, str(versions[name]), BLOB, namespace, name)
        if name in changed
        else Sealed(SEALED, b"")
        for name, value in values.items()
        if name not in inline
    }
    whole = get_serializable_checkpoint_metadata(place, metadata)
    head = {
        "metadata": whole,
        "values": inline,
        "blobs": sorted(blobs),
        "channel_versions": versions,
        "versions_seen": checkpoint["versions_seen"],
    }
    sealed = codec.seal(codec.dump(head), HEAD, namespace, checkpoint["id"], parent)
    shown: dict[str, Any] = {key: value for key, value in whole.items() if key in _SHOWN}
    bare = {key: at[key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id") if key in at}
    return (
        {"configurable": bare},
        {**checkpoint, "channel_values": blobs},
        {**shown, _ENTRY: base64.b64encode(sealed).decode()},
    )


def open_checkpoint(codec: Codec, one: CheckpointTuple) -> CheckpointTuple:
    """The inverse, with ``Stored`` for what is in pieces. Raises ``EncryptionError``."""
    at: Any = one.config["configurable"]
    namespace = at["checkpoint_ns"]
    parent: Any = one.parent_config["configurable"]["checkpoint_id"] if one.parent_config else None
    where = f"checkpoint {at['checkpoint_id']} of thread {at['thread_id']!r}"
    head = codec.load(codec.unseal(_head_of(one, where), HEAD, namespace, at["checkpoint_id"], parent))
    blobs: Mapping[str, Any] = one.checkpoint["channel_values"]
    if missing := set(head["blobs"]) - blobs.keys():
        raise ContentTampered(f"{', '.join(sorted(missing))} was taken from {where}.")
    values = dict(head["values"])
    for name, blob in blobs.items():
        version, values[name] = open_value(codec, blob, BLOB, namespace, name)
        if version != str(head["channel_versions"].get(name)):
            raise ContentTampered(f"{name} of {where} is of another version.")
    return one._replace(
        checkpoint={
            **one.checkpoint,
            "channel_values": values,
            "channel_versions": head["channel_versions"],
            "versions_seen": head["versions_seen"],
        },
        metadata=head["metadata"],
        pending_writes=[
            (task, channel, open_value(codec, value, WRITE, namespace, task, channel)[1])
            for task, channel, value in one.pending_writes or ()
        ],
    )


def open_history(codec: Codec, namespace: str, channel: str, history: Any) -> dict[str, Any]:
    """What LangGraph's saver gives of a delta channel, opened."""
    opened = {
        "writes": [
            (task, name, open_value(codec, value, WRITE, namespace, task, name)[1])
            for task, name, value in history["writes"]
        ]
    }
    if "seed" in history:
        opened["seed"] = open_value(codec, history["seed"], BLOB, namespace, channel)[1]
    return {**history, **opened}


def _head_of(one: CheckpointTuple, where: str) -> bytes:
    text: Any = one.metadata.get(_ENTRY)
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ContentTampered(f"Plain content stands where sealed content should: {where}.") from None


def reseal(connection: Any, thread: str, before: Codec, after: Codec) -> None:
    """Store all of a thread but its pieces, which ``before`` opens, as ``after`` seals it."""
    for table, key, place in (
        ("checkpoint_blobs", ("checkpoint_ns", "channel", "version"), ("checkpoint_ns", "channel")),
        (
            "checkpoint_writes",
            ("checkpoint_ns", "checkpoint_id", "task_id", "idx"),
            ("checkpoint_ns", "task_id", "channel"),
        ),
    ):
        kind = BLOB if table == "checkpoint_blobs" else WRITE
        columns = ", ".join({*key, *place, "blob"})
        rows = connection.execute(
            f"SELECT {columns} FROM {table} WHERE thread_id = %s AND type <> 'empty'", (thread,)
        ).fetchall()
        where = " AND ".join(f"{column} = %s" for column in key)
        for row in rows:
            at = (kind, *(row[column] for column in place))
            connection.execute(
                f"UPDATE {table} SET blob = %s WHERE thread_id = %s AND {where}",
                (after.seal(before.unseal(bytes(row["blob"]), *at), *at), thread, *(row[column] for column in key)),
            )
    rows = connection.execute(
        "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata ->> %s AS head FROM checkpoints "
        "WHERE thread_id = %s",
        (_ENTRY, thread),
    ).fetchall()
    for row in rows:
        at = (HEAD, row["checkpoint_ns"], row["checkpoint_id"], row["parent_checkpoint_id"])
        sealed = after.seal(before.unseal(base64.b64decode(row["head"]), *at), *at)
        connection.execute(
            "UPDATE checkpoints SET metadata = jsonb_set(metadata, ARRAY[%s], to_jsonb(%s::text)) "
            "WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s",
            (_ENTRY, base64.b64encode(sealed).decode(), thread, row["checkpoint_ns"], row["checkpoint_id"]),
        )


def _is_small(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
