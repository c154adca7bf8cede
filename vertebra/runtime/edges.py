"""What a stored checkpoint says of its edge: which nodes come next, which fields were written. Pure.

Read without the graph, so that any thread can be looked at. The channels have LangGraph's names:
``branch:to:NODE`` holds a value while NODE is triggered, ``join:A+B:NODE`` the nodes that have arrived,
``__pregel_tasks`` what was sent, ``__start__`` an input. A test compares with LangGraph's own answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vertebra.types import Edge

TASKS = "__pregel_tasks"
BEGIN = "__start__"
_INTERNAL = ("branch:", "join:", "__", "vertebra.")
_BRANCH = "branch:to:"
_JOIN = "join:"


def next_of(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """The nodes that run after this checkpoint, each once, by name."""
    found: list[str] = []
    values = checkpoint["channel_values"]
    for channel, value in values.items():
        if channel == BEGIN:
            found.append(BEGIN)
        elif channel.startswith(_BRANCH) and _is_due(value):
            found.append(channel.removeprefix(_BRANCH))
        elif channel.startswith(_JOIN):
            names, _, target = channel.removeprefix(_JOIN).rpartition(":")
            if _all_there(names, value):
                found.append(target)
    found.extend(sent.node for sent in values.get(TASKS) or ())
    return tuple(sorted(set(found)))


def _is_due(value: Any) -> bool:
    """A deferred node's channel holds (value, whether all else has finished)."""
    return not isinstance(value, tuple | list) or bool(value[-1])


def _all_there(names: str, value: Any) -> bool:
    # Only nodes of the join arrive in it: all are there when their names are as long as the channel's.
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[-1], bool):
        value, due = value  # of a deferred node
        if not due:
            return False
    return bool(value) and len("+".join(value)) == len(names)


def changed_fields(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of the state that were written between two checkpoints."""
    known = before["channel_versions"] if before is not None else {}
    return tuple(
        sorted(
            channel
            for channel, version in after["channel_versions"].items()
            if known.get(channel) != version and not channel.startswith(_INTERNAL)
        )
    )


def edge_of(found: Any, before: Any) -> Edge:
    """The edge of a LangGraph ``CheckpointTuple``; ``before``: the one that it followed, or None."""
    metadata = found.metadata or {}
    source = str(metadata.get("source", "loop"))
    previous = before.checkpoint if before is not None else None
    ran = next_of(previous) if previous is not None and source == "loop" else ()
    return Edge(
        checkpoint_id=found.checkpoint["id"],
        step=int(metadata.get("step", -1)),
        source=source,
        nodes=ran,
        next=next_of(found.checkpoint),
        changed=changed_fields(previous, found.checkpoint),
        at=datetime.fromisoformat(found.checkpoint["ts"]).timestamp(),
        previous=parent_id(found),
    )


def parent_id(found: Any) -> str | None:
    """The id of the checkpoint that a ``CheckpointTuple`` followed."""
    return found.parent_config["configurable"]["checkpoint_id"] if found.parent_config else None
