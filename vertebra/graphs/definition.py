"""The parts of a graph, as data: what checks, proofs, pictures and compilation read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vertebra.graphs.claims import Claim
from vertebra.graphs.state import StateSchema
from vertebra.nodes.kinds import NodeSpec
from vertebra.types import END, START, Standing

if TYPE_CHECKING:
    from vertebra.graphs.authoring import Graph

Migration = Callable[[dict[str, Any], Standing], Any]
"""Given the old state's values and where the thread stands: the new values, or those and new names of nodes."""


@dataclass(frozen=True)
class Choice:
    """A conditional edge set: the router's answer is looked up in ``mapping``."""

    source: str
    router: Callable[..., Any]
    mapping: Mapping[Any, str]
    max_visits: int | None = None
    on_exhausted: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        extra = (self.on_exhausted,) if self.on_exhausted is not None else ()
        return tuple(dict.fromkeys((*self.mapping.values(), *extra)))


@dataclass(frozen=True)
class FanOut:
    """Run ``worker`` once for each item of the field ``over``, then go on after all of them."""

    source: str
    worker: str
    over: str


@dataclass
class Definition:
    """All of one graph; its subgraphs have definitions of their own."""

    name: str
    version: str
    schema: StateSchema
    nodes: dict[str, NodeSpec] = field(default_factory=dict)
    subgraphs: dict[str, Graph] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    joins: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    fan_outs: list[FanOut] = field(default_factory=list)
    redefined: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    migrations: dict[str, Migration] = field(default_factory=dict)
    """From which version each leads on, in the order in which they are applied."""
    waivers: dict[str, dict[str, str]] = field(default_factory=dict)
    """By place, as findings call it, the codes that are waived there; those of the whole graph under ``""``."""

    def static_targets(self, node: str) -> list[str]:
        return [target for source, target in self.edges if source == node]

    def successors(self) -> dict[str, list[str]]:
        """Every edge that a run may take, whatever its kind."""
        result: dict[str, list[str]] = {START: [], END: [], **{name: [] for name in self.nodes}}
        for source, target in self.edges:
            result.setdefault(source, []).append(target)
        for sources, target in self.joins:
            for source in sources:
                result.setdefault(source, []).append(target)
        for choice in self.choices:
            result.setdefault(choice.source, []).extend(choice.targets)
        for fan in self.fan_outs:
            # An empty field goes straight to what follows the worker.
            result.setdefault(fan.source, []).extend([fan.worker, *self.static_targets(fan.worker)])
        return result
