"""What LangGraph puts, as batches of rows: a checkpoint with what is new in its channels, or a task's writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple, get_checkpoint_metadata

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.chunk_cache import ChunkCache
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.encoding import Encoder
from vertebra.checkpointers.pieces.memo import Latest, ThreadMemo
from vertebra.checkpointers.pieces.memo import Sequence as Stored
from vertebra.checkpointers.sqlite.batch import Batch
from vertebra.checkpointers.sqlite.legacy import Write
from vertebra.checkpointers.sqlite.reading import CHECKPOINT, WRITES, decoder_of, refs_of

ROW_LIMIT = 700  # bytes of a record that stand in its row: longer rows would take a page of their own each


def checkpoint_batch(
    codec: Codec,
    memo: ThreadMemo,
    config: Mapping[str, Any],
    checkpoint: Mapping[str, Any],
    metadata: Any,
    changed: Mapping[str, Any],
    *,
    trust_identity: bool = True,
) -> Batch:
    """The rows of a checkpoint. Hold the memo's lock until they are queued."""
    place = config["configurable"]
    namespace, parent = str(place.get("checkpoint_ns", "")), place.get("checkpoint_id")
    latest = memo.latest.get(namespace)
    if latest is not None and latest.checkpoint != parent:
        latest = None
    encoder = Encoder(codec, memo, trust_identity=trust_identity)
    versions = checkpoint["channel_versions"]
    refs = encoder.refs(namespace, checkpoint["channel_values"], versions, changed, latest)
    kept = {key: value for key, value in checkpoint.items() if key not in ("id", "channel_values")}
    whole: Any = get_checkpoint_metadata(config, metadata)  # type: ignore[arg-type]
    record, at = {"checkpoint": kept, "refs": refs, "metadata": whole}, (namespace, checkpoint["id"], parent)
    data = encoder.packed(record, ROW_LIMIT, CHECKPOINT, *at)
    run = whole.get("run_id")
    row = (memo.number, *at, None if run is None else str(run), data)
    memo.has_put(namespace, Latest(checkpoint["id"], dict(versions), refs))
    return Batch(memo, encoder.pieces, checkpoint=row)


def writes_batch(
    codec: Codec, memo: ThreadMemo, config: Mapping[str, Any], writes: Sequence[tuple[str, Any]], task: str, path: str
) -> Batch:
    """The rows of a task's writes; they may be held unless one of them is an error, an interrupt or its answer."""
    numbered = [(WRITES_IDX_MAP.get(channel, at), channel, value) for at, (channel, value) in enumerate(writes)]
    batch = _numbered_writes(codec, memo, config["configurable"], numbered, task, path)
    batch.held = not any(channel in WRITES_IDX_MAP for channel, _ in writes)
    return batch


def moved_batches(codec: Codec, memo: ThreadMemo, found: CheckpointTuple, writes: Sequence[Write]) -> list[Batch]:
    """The rows of a checkpoint that was stored elsewhere, with its writes."""
    at = found.config["configurable"]
    parent = found.parent_config["configurable"]["checkpoint_id"] if found.parent_config else None
    config = {"configurable": {**at, "checkpoint_id": parent}}
    versions = found.checkpoint["channel_versions"]
    batches = [checkpoint_batch(codec, memo, config, found.checkpoint, found.metadata, versions)]
    by_task: dict[tuple[str, str, bool], list[tuple[int, str, Any]]] = {}
    for path, task, index, channel, value in writes:
        by_task.setdefault((path, task, index < 0), []).append((index, channel, value))
    for (path, task, _), numbered in by_task.items():
        batches.append(_numbered_writes(codec, memo, at, numbered, task, path))
    return batches


def learn(
    connection: sqlite3.Connection, codec: Codec, memo: ThreadMemo, namespace: str, parent: str, chunks: ChunkCache
) -> None:
    """Remember of a checkpoint what a put after it can refer to: its references, and digests of its items.

    Whoever resumes a thread has read its state right before, so that ``chunks`` know nearly all of that.
    """
    decoder = decoder_of(connection, codec.of(memo.thread), memo.number, chunks)
    latest = refs_of(connection, decoder, memo.number, namespace, parent)
    if latest is None:
        return
    memo.has_put(namespace, latest)
    unknown = {
        channel: ref
        for channel, ref in latest.refs.items()
        if isinstance(ref, list) and (namespace, channel) not in memo.sequences
    }
    with legible(memo.thread, CHECKPOINT, namespace, parent):
        decoder.warm(unknown.values(), alive=False)
        for channel, ref in unknown.items():
            memo.sequences[namespace, channel] = Stored(None, False, *decoder.sequence(ref[1]))


def _numbered_writes(
    codec: Codec,
    memo: ThreadMemo,
    place: Mapping[str, Any],
    writes: Sequence[tuple[int, str, Any]],
    task: str,
    path: str,
) -> Batch:
    for text in (task, path, *(channel for _, channel, _ in writes)):
        text.encode()  # what no database takes is refused now: a commit of what is held has nobody to tell
    encoder = Encoder(codec, memo)
    record = [[at, channel, encoder.write(value)] for at, channel, value in writes]
    of = (str(place.get("checkpoint_ns", "")), str(place["checkpoint_id"]), task, path)
    row = (memo.number, *of, encoder.packed(record, ROW_LIMIT, WRITES, *of))
    return Batch(memo, encoder.pieces, writes=row)
