"""What lies ahead of a thread, and whether it is the same in two shapes of its graph.

A run goes in supersteps. Its *position* is the set of nodes that it stands before, and what has arrived at the
joins. After a node come the targets of its edges, choices, fan-outs and, once all their sources have run,
joins. The nodes *ahead* are the closure of the position under "may come after", where every source of a join
counts as if it completed it: more nodes than a run may ever reach, never fewer.

The *description* of a node is all that decides what the engine does with it and after it: kind, answer,
fallback, the inner graph of a subgraph, its outgoing edges, choices and fan-outs, and the joins that it feeds. Of a
node that the thread stands before it is also the joins that wake it: LangGraph names a task by them, and so what it
has written and the question that it asks.

**Claim.** If every node ahead in the old shape has the same description in the new one, then from this position
both make the same moves. By induction over supersteps: both stand before the same nodes with the same
arrivals; each of them is ahead, so it is the same task with the same ways out; a join that it feeds is fed in both,
by all its sources or by none of them, since those that can still run are ahead; so both stand before the same nodes
again. Nodes that are not ahead never run, and a node is ahead in the new shape exactly if it is in the old one,
because every description on the way to it is the same. The converse is not claimed: a difference that no run can
reach any more, behind a join that never fires, counts as one. That way the error is a refusal.

Fields of the state are compared all, since any node may read any field. Not seen, as in ``shape``: the code of
nodes and routers, and loop bounds, which may be mended under a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vertebra.graphs.shape import difference
from vertebra.graphs.topology import reachable
from vertebra.types import END, START

Join = tuple[frozenset[str], str]
"""The sources that are waited for, and the target."""


class Unreadable(ValueError):
    """A line of a shape can be read in two ways, because of what its nodes are called."""


@dataclass(frozen=True)
class Position:
    """Where a thread stands: before ``next`` (``__start__`` is a node), having the state's ``fields``.

    ``arrived``: of each join that some but not all sources have run for, those sources.
    """

    next: frozenset[str]
    arrived: Mapping[Join, frozenset[str]] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()


class Parts:
    """A shape taken apart. Raises ``Unreadable``."""

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self._nodes: Mapping[str, Any] = shape.get("nodes", {})
        self._known = frozenset({START, END, *self._nodes})
        self.joins = [self._join(text) for text in shape.get("joins", ())]
        self._edges = [(*self._two(text, " -> "), text) for text in shape.get("edges", ())]
        self._choices = [(*self._choice(text), text) for text in shape.get("choices", ())]
        self._fans = [(*self._two(text.rpartition(" over ")[0], " => "), text) for text in shape.get("fan_outs", ())]

    def _two(self, text: str, between: str) -> tuple[str, str]:
        pieces = text.split(between)
        return self._only({(between.join(pieces[:n]), between.join(pieces[n:])) for n in range(1, len(pieces))}, text)

    def _choice(self, text: str) -> tuple[str, str]:
        # The answer stands between source and target, and may read as anything.
        heads, tails = text.split(" ? "), text.split(" -> ")
        sources = (" ? ".join(heads[:n]) for n in range(1, len(heads)))
        targets = [" -> ".join(tails[n:]) for n in range(1, len(tails))]
        return self._only({(source, target) for source in sources for target in targets}, text)

    def _only(self, readings: Collection[tuple[str, str]], text: str) -> tuple[str, str]:
        found = [reading for reading in readings if self._known.issuperset(reading)]
        if len(found) != 1:
            raise Unreadable(text)
        return found[0]

    def _join(self, text: str) -> Join:
        sources, _, target = text.rpartition(" -> ")
        names = frozenset(sources.split(" + "))
        if not self._known.issuperset({*names, target}):
            raise Unreadable(text)
        return names, target

    def ahead(self, start: Collection[str]) -> set[str]:
        """Every node that may still run, from those that the thread stands before."""
        successors = self._successors()
        return {name for node in start for name in reachable(successors, node)}

    def _successors(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {name: set() for name in self._known}
        for source, target, _ in (*self._edges, *self._choices, *self._fans):
            found[source].add(target)
        for sources, target in self.joins:
            for source in sources:
                found[source].add(target)
        for source, worker, _ in self._fans:  # an empty field goes straight to what follows the worker
            found[source] |= {target for origin, target, _ in self._edges if origin == worker}
        for name, node in self._nodes.items():
            if isinstance(node, Mapping) and node.get("fallback") in self._known:
                found[name].add(node["fallback"])
        return found

    def described(self, node: str, *, woken: bool = True) -> dict[str, Any]:
        """What decides about a node and what comes after it; empty for a node that is not there.

        ``woken``: with the joins that wake it.
        """
        if node not in self._known:
            return {}
        about = {
            "edges": sorted(text for source, _, text in self._edges if source == node),
            "choices": sorted(text for source, _, text in self._choices if source == node),
            "fan_outs": sorted(text for source, _, text in self._fans if source == node),
            "joins": sorted(join_text(j) for j in self.joins if node in j[0] or (woken and node == j[1])),
        }
        return {**about, "node": _unnamed(self._nodes.get(node))}


def join_text(join: Join) -> str:
    return f"{' + '.join(sorted(join[0]))} -> {join[1]}"


def _unnamed(node: Any) -> Any:
    """A node without what its inner graphs are called and versioned by."""
    if not isinstance(node, Mapping) or "graph" not in node:
        return node
    inner = {key: value for key, value in node["graph"].items() if key not in ("name", "version")}
    inner["nodes"] = {name: _unnamed(part) for name, part in inner.get("nodes", {}).items()}
    return {**node, "graph": inner}


def changes_ahead(
    old: Mapping[str, Any], new: Mapping[str, Any], position: Position, defaulted: Collection[str] = ()
) -> list[str]:
    """What of the part ahead differs, a line each; empty if the thread may go on as if nothing had changed.

    ``defaulted``: fields of the new state that have a default, so that adding them changes nothing.
    """
    lines = [f"~ name: {old.get('name')} -> {new.get('name')}"] if old.get("name") != new.get("name") else []
    lines += _changes_of_fields(old.get("state", {}), new.get("state", {}), position.fields, defaulted)
    try:
        before, after = Parts(old), Parts(new)
    except Unreadable as error:
        return [*lines, f"~ cannot be told apart: {error}"] if old != new else lines
    # What is ahead in the new shape alone hangs on a description that differs, and is told with it.
    for node in sorted(before.ahead(position.next & {START, *old.get("nodes", ())}) | position.next):
        was, now = (parts.described(node, woken=node in position.next) for parts in (before, after))
        if not now or not was:
            lines.append(f"{'-' if was else '~'} nodes.{node}: the thread {_stands(node, position)}")
        else:
            lines += difference(was, now, node)
    return lines


def _stands(node: str, position: Position) -> str:
    return "stands before it" if node in position.next else "may come to it"


def _changes_of_fields(
    old: Mapping[str, str], new: Mapping[str, str], present: Collection[str], defaulted: Collection[str]
) -> list[str]:
    kept = {name: text for name, text in old.items() if name in present}
    # Of a field that has no value yet only what is written from here on counts: as the new graph has it.
    added = {name: text for name, text in new.items() if name not in old and name not in defaulted}
    return difference(kept, {name: new[name] for name in kept if name in new}, "state") + [
        f"+ state.{name}: {text}, without a default" for name, text in added.items()
    ]
