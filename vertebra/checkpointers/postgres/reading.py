"""What LangGraph's saver has read, with values in place of marks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.decoding import Decoder
from vertebra.checkpointers.postgres import tables
from vertebra.checkpointers.postgres.marking import MarkingSerializer
from vertebra.checkpointers.postgres.sealing import Stored, open_checkpoint, open_history


def revived(connection: Any, serde: MarkingSerializer, tuples: Sequence[CheckpointTuple]) -> list[CheckpointTuple]:
    """States with their values; pieces that several of them share are fetched once."""
    codec = serde.codec
    if codec.binds:
        tuples = [_opened(codec, one) for one in tuples]
    decoders: dict[str, Decoder] = {}
    marks: dict[str, list[Any]] = {}
    for one in tuples:
        thread = one.config["configurable"]["thread_id"]
        found = [value.ref for value in one.checkpoint["channel_values"].values() if isinstance(value, Stored)]
        marks.setdefault(thread, []).extend(found)
    for thread, refs in marks.items():
        decoders[thread] = Decoder(codec.of(thread), partial(tables.fetch, connection, thread))
        with legible(thread, "marks of pieces"):
            decoders[thread].warm(refs)
    return [_with_values(decoders[one.config["configurable"]["thread_id"]], one) for one in tuples]


def _with_values(decoder: Decoder, one: CheckpointTuple) -> CheckpointTuple:
    values = {}
    for name, value in one.checkpoint["channel_values"].items():
        with legible(decoder.owner, "blob", one.config["configurable"]["checkpoint_ns"], name):
            values[name] = _revive(decoder, value)
    return one._replace(checkpoint={**one.checkpoint, "channel_values": values})


def history(connection: Any, serde: MarkingSerializer, config: Any, channels: Sequence[str]) -> Any:
    """For each delta channel its writes since the value that was stored last."""
    thread = str(config["configurable"]["thread_id"])
    with legible(thread, "history of delta channels"):
        found = PostgresSaver(connection, serde=serde).get_delta_channel_history(config=config, channels=channels)
        codec = serde.codec.of(thread)
        if codec.binds:
            namespace = str(config["configurable"].get("checkpoint_ns", ""))
            found = {n: open_history(codec, namespace, n, of) for n, of in found.items()}  # type: ignore[misc]
        decoder = Decoder(codec, partial(tables.fetch, connection, thread))
        return {name: {key: _revive(decoder, value) for key, value in of.items()} for name, of in found.items()}


def _opened(codec: Codec, one: CheckpointTuple) -> CheckpointTuple:
    place = one.config["configurable"]
    with legible(place["thread_id"], "checkpoint", place["checkpoint_ns"], place["checkpoint_id"]):
        return open_checkpoint(codec.of(place["thread_id"]), one)


def _revive(decoder: Decoder, value: Any) -> Any:
    return decoder.value(value.ref) if isinstance(value, Stored) else value
