"""Where a thread stands, read from its checkpoint: the channels by which LangGraph wakes nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertebra.graphs.ahead import Join, Parts, Position, Unreadable
from vertebra.graphs.compilation import ENTRY
from vertebra.types import START, ThreadRecord

RUN_KEY = "vertebra_run"
SENDS = "__pregel_tasks"


def to_channel(node: str) -> str:
    """The channel that wakes a node."""
    return f"branch:to:{node}"


def has_begun(latest: Any, record: ThreadRecord) -> bool:
    """Whether the newest checkpoint belongs to the present run of the thread."""
    return latest is not None and (latest.metadata or {}).get(RUN_KEY) == record.run_id


def position_of(latest: Any, record: ThreadRecord) -> Position:
    """The position of a thread, by its stored shape. ``vertebra.entry`` stands for START. Raises ``Unreadable``."""
    values = {} if latest is None else latest.checkpoint["channel_values"]
    fields = frozenset(name for name in record.shape.get("state", {}) if name in values)
    if not has_begun(latest, record):
        return Position(frozenset({START}), fields=fields)
    checkpoint = latest.checkpoint
    following = {send.node for send in values.get(SENDS) or ()}
    following |= {
        START for node, channel in ((START, START), (ENTRY, to_channel(ENTRY))) if _wakes(checkpoint, node, channel)
    }
    following |= {name for name in record.shape["nodes"] if _wakes(checkpoint, name, to_channel(name))}
    arrived: dict[Join, frozenset[str]] = {}
    for join, channel in joins_in(values, record.shape).items():
        come = frozenset(values[channel])
        if come != join[0]:
            arrived[join] = come
        elif _wakes(checkpoint, join[1], channel):
            following.add(join[1])
    return Position(frozenset(following), arrived, fields | _given(values, record.shape))


def _given(values: Mapping[str, Any], shape: Mapping[str, Any]) -> frozenset[str]:
    given = values.get(START)
    return frozenset(name for name in shape["state"] if name in given) if isinstance(given, Mapping) else frozenset()


def _wakes(checkpoint: Any, node: str, channel: str) -> bool:
    """Whether a channel has a value that its node has not seen yet."""
    if channel not in checkpoint["channel_values"]:
        return False
    seen = checkpoint["versions_seen"].get(node)
    version = checkpoint["channel_versions"].get(channel)
    return seen is None or channel not in seen or version > seen[channel]


def joins_in(values: Mapping[str, Any], shape: Mapping[str, Any]) -> dict[Join, str]:
    """The joins of a shape that something has arrived at, with their channels. Raises ``Unreadable``."""
    found = {}
    for join in Parts(shape).joins:
        for channel in values:
            if values[channel] and is_channel_of(channel, join):
                found[join] = channel
    return found


def is_channel_of(channel: str, join: Join) -> bool:
    """LangGraph names the channel by the sources as they were declared, in any order."""
    head, tail = "join:", f":{join[1]}"
    if not channel.startswith(head) or not channel.endswith(tail):
        return False
    return sorted(channel[len(head) : -len(tail)].split("+")) == sorted("+".join(join[0]).split("+"))


__all__ = ["RUN_KEY", "SENDS", "Unreadable", "has_begun", "is_channel_of", "joins_in", "position_of", "to_channel"]
