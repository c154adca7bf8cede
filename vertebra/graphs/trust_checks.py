"""A static check of trust: whether what a model said can reach an effect that nothing has looked at before.

A transition or a human vouches for what passes it; a router chooses, and vouches for nothing. Of a subgraph it is
asked once what comes out of it and what reaches its effects from its start, so that each level costs one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vertebra.graphs.accesses import Accesses
from vertebra.graphs.definition import Definition
from vertebra.graphs.flow_checks import warning
from vertebra.nodes.kinds import NodeSpec
from vertebra.types import END, START, Finding


def model_to_effect(definition: Definition) -> Iterator[Finding]:
    level = _Level(definition)
    entered = _Spread(level, level.emitting)
    told = _Told(definition)
    for name, spec in definition.nodes.items():
        if name not in entered.came:
            continue
        effects = [name] if spec.kind == "effect" and not told.apart(spec) else []
        effects += [f"{name}/{each}" for each in level.inner[name].effects] if name in level.inner else []
        path = entered.path(name) if effects else []
        for place in effects:
            yield warning(
                "model_to_effect",
                place,
                f"what a model says in {path[0]!r} reaches it ({' -> '.join(path)}), and no transition and no human "
                "is between.",
                "let a transition validate it, or a human approve it, on that path.",
            )


@dataclass(frozen=True, slots=True)
class _Passage:
    """What a graph does with what nobody has vouched for."""

    emits: bool
    """What a model in it said leaves it."""
    passes: bool
    """What comes in leaves it."""
    effects: tuple[str, ...]
    """The effects in it that what comes in reaches."""

    @classmethod
    def of(cls, definition: Definition) -> _Passage:
        level = _Level(definition)
        came = _Spread(level, [START]).came
        effects = [name for name, spec in definition.nodes.items() if spec.kind == "effect" and name in came]
        effects += [f"{name}/{each}" for name, inner in level.inner.items() if name in came for each in inner.effects]
        return cls(END in _Spread(level, level.emitting).came, END in came, tuple(effects))


class _Level:
    """One graph, of its subgraphs only what they let through."""

    def __init__(self, definition: Definition) -> None:
        self.nodes = definition.nodes
        self.successors = definition.successors()
        self.inner = {name: _Passage.of(graph.definition) for name, graph in definition.subgraphs.items()}
        said_of = {name for name, spec in self.nodes.items() if spec.kind == "llm" or self._inner_emits(name)}
        self.emitting = [name for name in self.nodes if not said_of.isdisjoint((name, *self.stand_ins(name)))]

    def _inner_emits(self, name: str) -> bool:
        return name in self.inner and self.inner[name].emits

    def hands_on(self, name: str) -> bool:
        if name in self.inner:
            return self.inner[name].passes
        return self.nodes[name].kind not in ("transition", "human")

    def stand_ins(self, name: str) -> list[str]:
        found: list[str] = []
        following = self.nodes[name].fallback
        while following in self.nodes and following not in (name, *found):
            assert following is not None
            found.append(following)
            following = self.nodes[following].fallback
        return found


class _Spread:
    """The nodes that are entered with what leaves ``origins``, each with the node that it came from."""

    def __init__(self, level: _Level, origins: list[str]) -> None:
        self._origins = set(origins)
        self.came: dict[str, str] = {}
        queue, left = list(origins), set(origins)
        for place in queue:  # grows as it is walked: breadth first
            for target in level.successors.get(place, ()):
                if target in self.came:
                    continue
                self.came[target] = place
                if target not in level.nodes:
                    continue
                entered = [target, *level.stand_ins(target)]
                for stand_in in entered[1:]:
                    self.came.setdefault(stand_in, place)
                if target not in left and any(map(level.hands_on, entered)):
                    left.add(target)
                    queue.append(target)

    def path(self, name: str) -> list[str]:
        """From the nearest origin to a node."""
        path = [self.came[name], name]
        while path[0] not in self._origins:
            path.insert(0, self.came[path[0]])
        return path


class _Told:
    """Whether an effect reads nothing that a model of its graph writes, where both are known."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._known: Accesses | None = None
        self._said: frozenset[str] | None = None

    def apart(self, effect: NodeSpec) -> bool:
        if self._known is None:
            self._known = Accesses(self._definition)
            nodes = self._definition.nodes.values()
            written = [self._known.writes(spec) for spec in nodes if spec.kind in ("llm", "subgraph", "plain")]
            if all(access.all for access in written):
                self._said = frozenset[str]().union(*(access.fields for access in written))
        read = self._known.reads(effect)
        return self._said is not None and read.all and not read.fields & self._said
