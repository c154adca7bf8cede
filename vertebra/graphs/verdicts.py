"""What threads of one version would meet under another, position by position, without looking at any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vertebra.graphs.ahead import Position, changes_ahead
from vertebra.graphs.definition import Definition
from vertebra.types import START

Fate = Literal["goes on", "migrates", "refused"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a thread that stands before ``node``; ``changes``: what differs ahead of it."""

    node: str
    fate: Fate
    changes: tuple[str, ...] = ()


def verdicts(old: Mapping[str, Any], new: Mapping[str, Any], definition: Definition | None) -> list[Verdict]:
    """One for the start and for each node of the old shape, of a thread that stands there alone and has every field.

    ``definition``: of the new graph; None for one adopted from LangGraph, under which no changed thread goes on.
    """
    found = []
    for node in (START, *old["nodes"]):
        position = Position(frozenset({node}), fields=frozenset(old.get("state", {})))
        defaulted = definition.schema.defaulted if definition is not None else frozenset()
        changes = changes_ahead(old, new, position, defaulted)
        if old == new:
            found.append(Verdict(node, "goes on"))
        elif definition is not None and old["name"] == new["name"] and old["version"] in definition.migrations:
            found.append(Verdict(node, "migrates", tuple(changes)))
        elif changes or definition is None:
            found.append(Verdict(node, "refused", tuple(changes or ["~ adopted from LangGraph: nothing is proved"])))
        else:
            found.append(Verdict(node, "goes on"))
    return found
