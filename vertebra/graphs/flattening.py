"""From a definition to the flow of its paths: subgraphs laid open, fallbacks and empty fan-outs as ways of their own.

A node of a subgraph goes by ``outer/inner``. A node that something stands in for, its own fallback or that of a graph
around it, may be entered in two ways: it succeeds, or it fails and the stand-in follows. Of a path it is assumed that
no node fails for good, and that nobody changes the thread by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from vertebra.graphs import topology
from vertebra.graphs.answers import answers_several
from vertebra.graphs.definition import Choice, Definition
from vertebra.graphs.exploring import explore
from vertebra.graphs.flow import Flow, Group, Step
from vertebra.types import END, START


class Place(NamedTuple):
    """Where a path can be: a node, what happens there, and in whose stead."""

    name: str
    what: Literal["ran", "failed", "entered", "left", "passed"]
    within: str = ""


Entries = tuple[Place, ...]


class Flattened(NamedTuple):
    """The flow of a definition, and what only names can tell of it."""

    flow: Flow[Place]
    names: tuple[str, ...]
    spread: tuple[str, ...]
    """Workers of fan-outs: they, and what is in them, run in parallel with themselves."""
    starving: frozenset[Place]
    """Places that may wait at a join for what never comes."""

    def visits(self, name: str) -> set[Place]:
        """The places where a node is executed, whether it succeeds or not."""
        return {place for place in self._places(name) if place.what in ("ran", "failed", "entered")}

    def done(self, name: str) -> set[Place]:
        """The places where it has succeeded."""
        return {place for place in self._places(name) if place.what in ("ran", "left")}

    def _places(self, name: str) -> Iterator[Place]:
        seen = {self.flow.start, *self.flow.groups}
        seen.update(step.target for groups in self.flow.groups.values() for group in groups for step in group)
        seen.update(target for _, target in self.flow.joins)
        return (place for place in seen if place.name == name)


def flatten(definition: Definition) -> Flattened:
    """Lay a definition open, with its subgraphs."""
    start, end = Place(START, "ran"), Place(END, "ran")
    work = _Flattening(Flow(start))
    work.level(definition, "", "", start, end, ())
    names = tuple(dict.fromkeys([START, *work.names, END]))
    return Flattened(work.flow, names, tuple(work.spread), frozenset(work.starving))


class _Flattening:
    def __init__(self, flow: Flow[Place]) -> None:
        self.flow = flow
        self.names: list[str] = []
        self.spread: list[str] = []
        self.starving: set[Place] = set()

    def level(
        self, definition: Definition, prefix: str, within: str, start: Place, end: Place, rescue: Entries
    ) -> None:
        """One graph, from ``start`` to ``end``; what fails in it goes on at ``rescue``."""
        entries: dict[str, Entries] = {END: (end,)}
        exits = {START: start}
        for name in definition.nodes:
            entries[name], exits[name] = self._node(definition, name, prefix, within, rescue, None, ())
        fixed: dict[str, list[Group[Place]]] = {}
        for source, target in definition.edges:
            fixed.setdefault(source, []).append(_steps(entries.get(target, ())))
        for source, groups in fixed.items():
            for group in groups:
                self._add(exits.get(source), group)
        for fan in definition.fan_outs:
            skipped = Place(f"{prefix}{fan.worker}", "passed", f"{within}|none")
            self.flow.hidden.add(skipped)
            for group in fixed.get(fan.worker, ()):
                self._add(skipped, group)
            self._add(exits.get(fan.source), _steps((*entries.get(fan.worker, ()), skipped)))
            self.spread.append(f"{prefix}{fan.worker}")
        self._choices(definition, entries, exits, start if prefix else None)
        for sources, target in definition.joins:
            known = frozenset(exits[source] for source in sources if source in exits)
            self.flow.joins += [(known, entry) for entry in entries.get(target, ())]
        if definition.joins:
            left = starved(definition)
            waiting = [exits[s] for sources, target in definition.joins if target in left for s in sources]
            self.starving.update(waiting)
            for place in waiting if prefix else ():
                self._add(place, (Step(end),))  # a subgraph that has nothing left to run is left

    def _node(
        self,
        definition: Definition,
        name: str,
        prefix: str,
        within: str,
        rescue: Entries,
        exit: Place | None,
        tried: tuple[str, ...],
    ) -> tuple[Entries, Place]:
        """Where a node is entered and where it is left; ``exit``: that of the node it stands in for."""
        spec, full = definition.nodes[name], f"{prefix}{name}"
        self.names.append(full)
        is_graph = spec.kind == "subgraph"
        ran, last = Place(full, "entered" if is_graph else "ran", within), Place(full, "ran", within)
        if is_graph:
            last = Place(full, "left", within)
            self.flow.hidden.add(last)
        saved = rescue
        known = spec.fallback in definition.nodes and spec.fallback not in (*tried, name)
        if exit is None and (rescue or known):
            exit = Place(full, "passed", within)
            self.flow.hidden.add(exit)
        if known and spec.fallback is not None:
            standing = f"{within}|{full}"
            saved, _ = self._node(definition, spec.fallback, prefix, standing, rescue, exit, (*tried, name))
        if is_graph:
            self.level(definition.subgraphs[name].definition, f"{full}/", within, ran, last, saved)
        if exit is not None:
            self._add(last, (Step(exit),))
        failed = Place(full, "failed", within)
        self._add(failed, _steps(saved))
        return ((ran, failed) if saved else (ran,)), exit or last

    def _choices(
        self, definition: Definition, entries: dict[str, Entries], exits: dict[str, Place], reset: Place | None
    ) -> None:
        part = topology.components(definition.successors()) if definition.choices else {}
        several: dict[int, bool] = {}
        for choice in definition.choices:
            place = exits.get(choice.source)
            if place is None:
                continue
            inside = {t for t in choice.mapping.values() if part.get(t) == part.get(choice.source)}
            number = None
            if choice.max_visits is not None and inside:
                number = len(self.flow.limits)
                self.flow.limits.append(choice.max_visits)
                if reset is not None:
                    self.flow.resets.setdefault(reset, []).append(number)
                if choice.on_exhausted is None:
                    self.flow.stops.setdefault(place, []).append(number)
            key = id(choice.router)
            several[key] = several[key] if key in several else answers_several(choice.router)
            if several[key]:
                self.flow.several.add(place)
            self._add(place, tuple(_choice_steps(choice, entries, inside, number)))

    def _add(self, place: Place | None, group: Group[Place]) -> None:
        if place is not None and group:
            self.flow.groups.setdefault(place, []).append(group)


def _steps(places: Sequence[Place]) -> Group[Place]:
    return tuple(Step(place) for place in places)


def _choice_steps(
    choice: Choice, entries: dict[str, Entries], inside: set[str], number: int | None
) -> Iterator[Step[Place]]:
    for target in dict.fromkeys(choice.mapping.values()):
        for entry in entries.get(target, ()):
            yield Step(entry, number if target in inside else None)
    if number is not None and choice.on_exhausted is not None:
        for entry in entries.get(choice.on_exhausted, ()):
            yield Step(entry, number, exhausted=True)


def starved(definition: Definition) -> set[str]:
    """The targets of joins that may wait for ever; all of them, where there is too much to look at."""
    explored = explore(definition, several=False)
    return explored.starved if explored.complete else {target for _, target in definition.joins}
