"""A checkpoint written again for another version of its graph: fields, names of nodes, joins. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from vertebra.graphs.compilation import LOOPS, RESERVED_CHANNELS
from vertebra.runtime.position import SENDS, to_channel
from vertebra.types import START

NextVersion = Callable[[Any, None], Any]


class Rewriting:
    """Changes to one checkpoint. ``touched`` has the new versions of the channels that were written.

    A channel that is written gets a version of its own: some savers keep each version of a value once.
    """

    def __init__(self, checkpoint: Mapping[str, Any], next_version: NextVersion) -> None:
        self.checkpoint: dict[str, Any] = {
            **checkpoint,
            "channel_values": dict(checkpoint["channel_values"]),
            "channel_versions": dict(checkpoint["channel_versions"]),
            "versions_seen": copy.deepcopy(checkpoint["versions_seen"]),
            "updated_channels": None,  # or only the nodes that those wake would be looked at
        }
        self.values: dict[str, Any] = self.checkpoint["channel_values"]
        self.touched: dict[str, Any] = {}
        versions = checkpoint["channel_versions"].values()
        self._version = next_version(max(versions) if versions else None, None)

    def write(self, channel: str, value: Any) -> None:
        self.values[channel] = value
        self.checkpoint["channel_versions"][channel] = self.touched[channel] = self._version

    def drop(self, channel: str) -> None:
        self.values.pop(channel, None)
        self.checkpoint["channel_versions"].pop(channel, None)

    def state(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Put the new fields in the place of the old ones."""
        for name in old:
            if name not in new:
                self.drop(name)
        for name, value in new.items():
            if name not in old or old[name] is not value:
                self.write(name, value)

    def given(self, values: Mapping[str, Any]) -> None:
        """The input of a run that has not taken its first step."""
        self.write(START, dict(values))

    def nodes(self, names: Mapping[str, str]) -> None:
        """Call the nodes that wait to be run by their new names, and their counts with them."""
        woken = {old: self.values[to_channel(old)] for old in names if to_channel(old) in self.values}
        for old in woken:
            self.drop(to_channel(old))
        for old, value in woken.items():
            self.write(to_channel(names[old]), value)
        sends = self.values.get(SENDS) or ()
        if any(send.node in names for send in sends):
            self.write(SENDS, [type(send)(names.get(send.node, send.node), send.arg) for send in sends])
        loops = self.values.get(LOOPS) or {}
        renamed = {_renamed(key, names): count for key, count in loops.items()}
        if renamed != loops:
            self.write(LOOPS, renamed)

    def joins(self, channels: Mapping[str, tuple[str | None, set[str]]]) -> None:
        """What has arrived at each join: old channel to new channel (None: it has gone) and its sources there."""
        for old, (new, arrived) in channels.items():
            if (new, arrived) != (old, self.values[old]):
                self.drop(old)
                if new is not None:
                    self.write(new, arrived)


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for between in ("/", "?"):
        source, found, number = key.rpartition(between)
        if found and number.isdecimal():
            return f"{names.get(source, source)}{between}{number}"
    return key


def fields_of(values: Mapping[str, Any], shape: Mapping[str, Any]) -> dict[str, Any]:
    """The state's fields among the channels of a checkpoint."""
    return {name: values[name] for name in shape["state"] if name in values and name not in RESERVED_CHANNELS}
