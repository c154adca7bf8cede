"""The worst case of a graph: how often each node can run in one run, and how many model calls that makes.

A token stands for a branch that is under way. Without the bounded steps of cycles the graph is acyclic, or unbounded:
so the visits that one token causes are found in one pass against the edges: its own, and of each group of parallel
edges the worst alternative. A bounded edge set sends a token back at most ``max_visits`` times in a run: each time
adds what it causes from there, less what the best way out would have caused in its stead. The sum is the bound. It is
never less than what can happen (exchange the last way back for the way out, and count on), and sometimes more: where
two equally long branches meet at a plain edge LangGraph runs the node once, here it is counted for each.

A call is an execution of an ``@llm`` or plain node: one that asks twice in its body makes twice as many. Each of the
attempts of its ``Retry`` counts, since after a bad answer it may ask anew, and so does the node that stands in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vertebra.errors import GraphInvalid
from vertebra.graphs import topology
from vertebra.graphs.annotations import bare
from vertebra.graphs.answers import answers_several
from vertebra.graphs.definition import Definition, FanOut
from vertebra.graphs.typical import Spread, Typical
from vertebra.nodes.kinds import NodeSpec
from vertebra.types import START, Finding

Count = float
"""A whole number, or ``math.inf``."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The worst case of one run. Numbers are whole, or ``math.inf``; ``unbounded`` says for want of which bounds.

    ``visits`` and ``calls``: by node (``outer/inner`` within a subgraph); ``total_calls``: of one whole run, in which
    not all of them need be possible together.
    """

    visits: dict[str, Count]
    calls: dict[str, Count]
    total_calls: Count
    unbounded: tuple[str, ...] = ()
    typical: Typical | None = None
    """What past runs came to, where they were asked for."""

    def require(self, max_calls: int, graph: str) -> None:
        """Raise ``GraphInvalid`` if one run may make more calls."""
        if self.total_calls > max_calls:
            why = f" since {' and '.join(self.unbounded)}" if self.total_calls == math.inf else "."
            message = f"one run may make {shown(self.total_calls)} model calls, and max_calls is {max_calls}{why}"
            remedy = "lower max_visits, attempts or max_length, or raise max_calls; graph.bounds() has the table."
            finding = Finding("too_many_calls", "error", graph, message, remedy)
            raise GraphInvalid(f"Graph {graph!r}: {message}", remedy=remedy, findings=(finding,))

    def __repr__(self) -> str:
        rows: list[tuple[str, ...]] = [("NODE", "VISITS", "CALLS")]
        rows += [(node, shown(visits), shown(self.calls[node])) for node, visits in self.visits.items()]
        rows.append(("in one run", "", shown(self.total_calls)))
        if self.typical is not None and self.typical.runs:
            rows = _beside(rows, self.typical)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([r[0].ljust(widths[0]), *map(str.rjust, r[1:], widths[1:])]) for r in rows]
        return "\n".join([*lines, *(f"infinite: {why}" for why in self.unbounded), *self._notes()])

    def _notes(self) -> Iterator[str]:
        if self.typical is None:
            return
        runs = self.typical.runs
        yield f"median and p95 of {runs} past run{'' if runs == 1 else 's'}." if runs else "no past run is on record."
        for node, calls in self.calls.items():
            most = self.typical.calls.get(node, Spread()).most
            if most > calls:
                yield f"{node} made {most} calls in one run: more than one in each attempt, which is what is counted."


def _beside(rows: list[tuple[str, ...]], typical: Typical) -> list[tuple[str, ...]]:
    """Each row with what is typical: after the visits, after the calls, and of tokens, which have no worst case."""
    names = list(typical.visits)

    def two(spread: Spread) -> tuple[str, str]:
        return f"{spread.median:,}", f"{spread.p95:,}"

    head, *nodes, (last, _, total) = rows
    found = [(head[0], head[1], "median", "p95", head[2], "median", "p95", "TOKENS: median", "p95")]
    for (name, visits, calls), node in zip(nodes, names, strict=True):
        spreads = (two(of[node]) for of in (typical.visits, typical.calls, typical.tokens))
        of_visits, of_calls, of_tokens = spreads
        found.append((name, visits, *of_visits, calls, *of_calls, *of_tokens))
    return [*found, (last, "", "", "", total, *two(typical.total_calls), *two(typical.total_tokens))]


def shown(count: Count) -> str:
    """A count as text."""
    return "infinite" if count == math.inf else str(int(count))


def bounds(definition: Definition) -> Bounds:
    """The worst case of a definition that the checks find well."""
    level = _Level(definition)
    own = {name: level.worst({name: 1.0}) for name in definition.nodes}
    visits: dict[str, Count] = {}
    calls: dict[str, Count] = {}
    unbounded = dict.fromkeys(level.unbounded())
    each = {name: _once(definition, name) for name in definition.nodes}
    for name, spec in definition.nodes.items():
        times = own[name] + sum(own[of] for of in definition.nodes if name in _stand_ins(definition, of))
        visits[name] = times
        calls[name] = _times(times, _calls_of(spec)) if spec.kind != "subgraph" else 0.0
        if spec.kind == "subgraph":
            inner = bounds(definition.subgraphs[name].definition)
            visits |= {f"{name}/{node}": _times(times, count) for node, count in inner.visits.items()}
            calls |= {f"{name}/{node}": _times(times, count) for node, count in inner.calls.items()}
            unbounded |= dict.fromkeys(f"{name}: {why}" for why in inner.unbounded)
    total = level.worst(each)
    return Bounds(visits, calls, total, tuple(unbounded))


def _once(definition: Definition, name: str) -> Count:
    """The calls that one visit causes, by the node and by all that may stand in for it."""
    total = 0.0
    for each in (name, *_stand_ins(definition, name)):
        spec = definition.nodes[each]
        graph = definition.subgraphs.get(each)
        total += _calls_of(spec) if graph is None else bounds(graph.definition).total_calls
    return total


def _calls_of(spec: NodeSpec) -> Count:
    return float(spec.retry.attempts) if spec.kind in ("llm", "plain") else 0.0


def _stand_ins(definition: Definition, name: str) -> list[str]:
    """The fallback of a node, that of the fallback, and so on."""
    found: list[str] = []
    following = definition.nodes[name].fallback
    while following in definition.nodes and following not in (name, *found):
        assert following is not None
        found.append(following)
        following = definition.nodes[following].fallback
    return found


def _times(a: Count, b: Count) -> Count:
    return 0.0 if 0 in (a, b) else a * b


def width(definition: Definition, fan: FanOut) -> Count:
    """How many items a fan-out can have: the ``max_length`` of its field, which validation enforces."""
    field = definition.schema.fields.get(fan.over)
    if field is None or field.reducer is not None:
        return math.inf
    return min(_lengths(field.annotation), default=math.inf)


def _lengths(annotation: Any) -> Iterator[Count]:
    for constraint in get_args(annotation)[1:] if annotation is not bare(annotation) else ():
        for each in (constraint, *getattr(constraint, "metadata", ())):
            if isinstance(getattr(each, "max_length", None), int):
                yield float(each.max_length)


class _Level:
    """One graph without what is inside its subgraphs."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        part = topology.components(definition.successors())
        self._groups: dict[str, list[tuple[bool, list[str]]]] = {}
        self._again: list[tuple[str, bool, list[str], list[str], int]] = []
        for source, target in definition.edges:
            self._add(source, [target])
        for sources, target in definition.joins:
            self._add(sources[0], [target])  # it is taken no more often than any one source is left
        for fan in definition.fan_outs:
            self._add(fan.source, [fan.worker])
        for choice in definition.choices:
            targets = list(dict.fromkeys(choice.mapping.values()))
            several = answers_several(choice.router)
            inside = [target for target in targets if part.get(target) == part.get(choice.source)]
            if choice.max_visits is not None and inside:
                targets = [target for target in targets if target not in inside]
                targets += [choice.on_exhausted] if choice.on_exhausted is not None else []
                self._again.append((choice.source, several, inside, targets, choice.max_visits))
            self._add(choice.source, targets, several)
        self._widths = {fan.worker: width(definition, fan) for fan in definition.fan_outs}
        plain = {node: [t for _, targets in groups for t in targets] for node, groups in self._groups.items()}
        self._cycles = topology.cycles(plain)
        self._endless = {node for cycle in self._cycles for node in topology.reachable(plain, cycle[0])}
        self._before = topology.reversed_graph({node: plain.get(node, []) for node in self._endless})
        self._order = _against(plain)
        self._known = topology.reachable(definition.successors(), START)

    def _add(self, source: str, targets: list[str], several: bool = False) -> None:
        self._groups.setdefault(source, []).append((several, targets))

    def unbounded(self) -> Iterator[str]:
        """The bounds that are missing."""
        for cycle in self._cycles:
            yield f"the cycle {' -> '.join([*cycle, cycle[0]])} has no max_visits."
        for fan in self._definition.fan_outs:
            if width(self._definition, fan) == math.inf:
                yield f"fan_out({fan.source} => {fan.worker}): the field {fan.over!r} has no max_length."

    def worst(self, weight: Mapping[str, Count]) -> Count:
        """The most that the visits of one run can weigh."""
        caused = self._caused_without_end(weight)
        for node in self._order:
            if node not in self._endless:
                own = _times(self._widths.get(node, 1.0), weight.get(node, 0.0))
                caused[node] = own + sum(_worst(s, ts, caused) for s, ts in self._groups.get(node, ()))
        total = caused.get(START, 0.0)
        for source, several, inside, outside, times in self._again:
            if source in self._known:
                gain, instead = _worst(several, inside, caused), _worst(several, outside, caused)
                gain = gain if several or instead == math.inf else max(0.0, gain - instead)
                total += _times(float(times), gain)
        return total

    def _caused_without_end(self, weight: Mapping[str, Count]) -> dict[str, Count]:
        """In a cycle without bound, and after one: as often as one likes, wherever something of weight comes after."""
        heavy = [node for node in self._endless if _times(self._widths.get(node, 1.0), weight.get(node, 0.0))]
        reached = topology.reachable({"": heavy, **self._before}, "")
        return {node: math.inf if node in reached else 0.0 for node in self._endless}


def _worst(several: bool, targets: list[str], caused: dict[str, Count]) -> Count:
    counts = [caused.get(target, 0.0) for target in targets]
    return sum(counts) if several else max(counts, default=0.0)


def _against(graph: dict[str, list[str]]) -> list[str]:
    """Every node after all that follow it; cycles are cut anywhere: what is in them is counted apart."""
    order: list[str] = []
    seen: set[str] = set()
    for root in [START, *graph]:
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            node, left = stack.pop()
            if left:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack += [(target, False) for target in graph.get(node, ())]
    return order
