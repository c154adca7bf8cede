"""The graph as its author writes it: nodes, edges, choices, fan-outs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from vertebra.errors import GraphInvalid, UsageError
from vertebra.graphs import places
from vertebra.graphs.claims import read_claim
from vertebra.graphs.definition import Choice, Definition, FanOut
from vertebra.graphs.state import StateSchema
from vertebra.nodes.kinds import Node, NodeSpec, node_name, spec_of
from vertebra.nodes.retry import Retry
from vertebra.nodes.signature import require_node
from vertebra.nodes.waivers import read_waivers
from vertebra.types import Finding, PastRun, Run

if TYPE_CHECKING:
    from vertebra.graphs.bounding import Bounds
    from vertebra.graphs.pictures import Picture
    from vertebra.graphs.pictures.palette import Theme
    from vertebra.graphs.proofs import Proof
    from vertebra.ports import PastPort
    from vertebra.runtime.app import App

M = TypeVar("M", bound=Callable[..., Any])
NodeLike = Any
"""A node's name, a decorated node, or a function that becomes one."""


class Graph:
    """An agent as an explicit graph: code decides the control flow, models are called by nodes.

    ``state`` is a pydantic model (or TypedDict, or dataclass); ``name`` and ``version`` are kept
    with each thread, so that a thread is never driven on by a graph that it does not know.

    Example::

        g = Graph(Visit, name="scribe", version="1")
        g.add_edge(START, cut)
        g.fan_out(cut, summarise, over="slices")
        g.add_edge(summarise, draft)
        g.add_edge(draft, END)
        app = g.compile(checkpointer="sqlite:///visits.db", default_model="gpt-5-mini")
    """

    def __init__(
        self, state: type[Any], *, name: str, version: str = "1", waive: Mapping[str, str] | None = None
    ) -> None:
        self.definition = Definition(name, str(version), StateSchema(state))
        self._waive("", waive)

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def version(self) -> str:
        return self.definition.version

    def add_node(
        self,
        node: NodeLike,
        action: NodeLike | None = None,
        *,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        fallback: NodeLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        waive: Mapping[str, str] | None = None,
    ) -> Graph:
        """Add a node: a decorated one, a function, or a ``Graph``, under its own name or a given one.

        LangGraph's two forms hold: ``add_node(node)`` and ``add_node("name", node)``. ``retry``,
        ``timeout_s`` and ``fallback`` stand over what the node's decorator says. ``waive``, here and wherever a part
        of a graph is declared: findings of ``check`` that are accepted at this place, as ``{"code": "reason"}``.
        """
        name, action = (node, action) if action is not None else (None, node)
        if isinstance(action, str):
            raise UsageError(f"add_node({action!r}) names a node but gives none.", remedy="pass its function too.")
        if isinstance(action, Graph):
            if self in action._with_inner():
                raise UsageError(f"Graph {action.name!r} would contain itself.", remedy="loop within one graph.")
            spec = NodeSpec(name=action.name, kind="subgraph", fn=action.add_node)
        else:
            spec = action.spec if isinstance(action, Node) else spec_of(action, "plain")
            require_node(spec.name, spec.fn)
        spec = replace(
            spec.named(spec.name if name is None else name),
            retry=retry or spec.retry,
            timeout_s=spec.timeout_s if timeout_s is None else timeout_s,
            fallback=spec.fallback if fallback is None else self._resolve(fallback),
            metadata=metadata or {},
            waivers={**spec.waivers, **read_waivers(waive, f"node {spec.name!r}")},
        )
        known = self.definition.nodes.get(spec.name)
        # Not `is`: a bound method is another object each time it is looked up.
        if known is not None and known.fn != spec.fn:
            self.definition.redefined.append(spec.name)
        if isinstance(action, Graph):
            self.definition.subgraphs[spec.name] = action
        self.definition.nodes[spec.name] = spec
        return self

    def _with_inner(self) -> list[Graph]:
        """This graph and all that are nodes of it, however deep."""
        return [self, *(g for inner in self.definition.subgraphs.values() for g in inner._with_inner())]

    def add_edge(
        self,
        source: NodeLike | Sequence[NodeLike],
        target: NodeLike,
        *,
        waive: Mapping[str, str] | None = None,
    ) -> Graph:
        """After ``source`` comes ``target``; with a list of sources, after all of them."""
        end = self._resolve(target)
        if isinstance(source, list | tuple):
            if not source:
                raise UsageError(f"add_edge([], {end!r}) comes after nothing.", remedy="name the nodes to wait for.")
            sources = tuple(self._resolve(s) for s in source)
            self.definition.joins.append((sources, end))
            self._waive(places.join(sources, end), waive)
        else:
            edge = (self._resolve(source), end)
            if edge not in self.definition.edges:
                self.definition.edges.append(edge)
            self._waive(places.edge(*edge), waive)
        return self

    def add_conditional_edges(
        self,
        source: NodeLike,
        router: Callable[..., Any],
        mapping: Mapping[Any, NodeLike] | Sequence[NodeLike],
        *,
        max_visits: int | None = None,
        on_exhausted: NodeLike | None = None,
        waive: Mapping[str, str] | None = None,
    ) -> Graph:
        """After ``source``, ask ``router(state)`` and go to the node that ``mapping`` has for its answer.

        ``max_visits``: how often this edge set may re-enter its cycle in one run; then the run goes
        to ``on_exhausted``, or stops with ``LoopBoundReached``. The count is part of the state.
        """
        if not isinstance(mapping, Mapping):
            mapping = {self._resolve(target): target for target in mapping}
        if not callable(router) or inspect.iscoroutinefunction(router):
            raise UsageError(
                f"{router!r} cannot be a router: it must be a `def` that returns an answer at once.",
                remedy="wait in a node, and let the router read the state.",
            )
        if max_visits is not None and max_visits < 1:
            raise UsageError(f"max_visits is {max_visits}; at least 1.", remedy="leave the edge out instead.")
        resolved = {key: self._resolve(target) for key, target in mapping.items()}
        exhausted = None if on_exhausted is None else self._resolve(on_exhausted)
        choice = Choice(self._resolve(source), router, resolved, max_visits, exhausted)
        self.definition.choices.append(choice)
        self._waive(places.choice(choice.source), waive)
        return self

    def fan_out(self, source: NodeLike, node: NodeLike, *, over: str, waive: Mapping[str, str] | None = None) -> Graph:
        """After ``source``, run ``node`` once for each item of the field ``over``, in parallel.

        The node receives the item, not the state. Its outgoing edge is the join: it is taken once,
        after all of them; an empty field takes it at once.
        """
        fan = FanOut(self._resolve(source), self._resolve(node), over)
        self.definition.fan_outs.append(fan)
        self._waive(places.fan_out(fan.source, fan.worker), waive)
        return self

    def migration(self, *, from_version: str) -> Callable[[M], M]:
        """Declare how a thread in flight that ``from_version`` started is carried over to the next version.

        The function gets the old state's values, as a dict, and a ``Standing``; it returns the new values, or
        the new values with a mapping of node names (old to new) for where the thread stands. Write them in the order
        of the versions: a thread goes through all from its own on. They must do nothing but compute: a
        crash may have one called again, though its result is applied once. Raises ``UsageError``.

        Example::

            @graph.migration(from_version="1")
            def from_1(values, standing):
                return {**values, "score": values["score"] * 100}, {"draft": "write"}
        """
        known = self.definition.migrations
        if from_version in known or from_version == self.version:
            what = "has a migration already" if from_version in known else "is what this graph is"
            raise UsageError(
                f"Version {from_version!r} of graph {self.name!r} {what}.",
                remedy="one for each older version, in their order; the last one leads to this graph.",
            )

        def declare(fn: M) -> M:
            known[from_version] = fn
            return fn

        return declare

    def _waive(self, place: str, waive: Mapping[str, str] | None) -> None:
        if waive is not None:
            self.definition.waivers.setdefault(place, {}).update(read_waivers(waive, place or f"graph {self.name!r}"))

    def _resolve(self, node: NodeLike) -> str:
        if isinstance(node, str):
            return node
        name = node.name if isinstance(node, Graph) else node_name(node)
        known = self.definition.nodes.get(name)
        fn = node.spec.fn if isinstance(node, Node) else node.add_node if isinstance(node, Graph) else node
        if known is None or known.fn != fn:
            self.add_node(node)
        return name

    def check(self, *, waived: bool = False) -> list[Finding]:
        """All findings of the static checks, errors first. Empty for a graph that is well.

        ``waived``: also list those that are waived, each with its reason, after the others.
        """
        from vertebra.graphs.checks import check

        findings = check(self.definition)
        return findings if waived else [finding for finding in findings if finding.waived is None]

    def prove(self, node: NodeLike | None = None, **claim: Any) -> Proof:
        """Whether a claim holds for every path: ``Proof`` is true, or has the shortest path that breaks it.

        ``prove(approve, before=pay)``, ``prove(validate, between=(draft, send))``, ``prove(never=a, after=b)``,
        ``prove(at_most=(node, n))``, ``prove(eventually=END)``. ``proof.draw()`` shows that path in red. Raises
        ``UsageError`` for any other form.
        """
        from vertebra.graphs.pictures.sketch import sketch_of
        from vertebra.graphs.proofs import prove

        return replace(prove(self.definition, read_claim(node, **claim)), sketch=sketch_of(self.definition))

    def require(self, node: NodeLike | None = None, **claim: Any) -> Graph:
        """Keep a claim of ``prove`` in the graph: ``check`` and ``compile`` enforce it from now on."""
        self.definition.claims.append(read_claim(node, **claim))
        return self

    def bounds(self, *, past: PastPort | Iterable[PastRun] | None = None) -> Bounds:
        """The worst case of one run: visits of each node and model calls, and which bounds are missing.

        ``past``: an ``App``, or what its ``past()`` gave: beside the worst case stand the median and the 95th
        percentile of visits, calls and tokens of the runs on record.

        Example::

            print(graph.bounds(past=app))
        """
        from vertebra.graphs.bounding import bounds
        from vertebra.graphs.typical import typical

        found = bounds(self.definition)
        if past is None:
            return found
        runs = past if isinstance(past, Iterable) else past.past_sync()
        return replace(found, typical=typical(runs, list(found.visits)))

    def draw(
        self, *, run: Run | None = None, diff: Graph | None = None, depth: int = 1, theme: Theme = "auto"
    ) -> Picture:
        """The graph as a ``Picture``: shows itself in a notebook; has ``.svg .png .text .dot .mermaid`` and ``save``.

        ``run``: what a run did is laid over it: visits, time, calls, tokens, retries, where it failed or waits, and
        the edges that it took. ``diff``: an older version; what came, went and changed since is marked. ``depth``:
        how many levels of subgraphs are drawn open, 0 for none. ``theme``: ``auto``, ``light`` or ``dark``.
        Raises ``UsageError``. A graph that ``check`` finds wrong can be drawn, to see what is wrong.

        Example::

            graph.draw().save("agent.svg")
            print(graph.draw(run=await app.run({"audio": "visit.wav"})))
        """
        from vertebra.graphs.pictures.drawing import draw

        return draw(self.definition, run=run, diff=diff, depth=depth, theme=theme)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.draw()._repr_mimebundle_(include, exclude)

    def fingerprint(self) -> str:
        """A digest of the shape: what a thread in flight depends on."""
        from vertebra.graphs.shape import fingerprint, shape

        return fingerprint(shape(self.definition))

    def require_valid(self) -> None:
        """Raise ``GraphInvalid`` with all findings if any is an error."""
        findings = self.check()
        errors = [finding for finding in findings if finding.severity == "error"]
        if errors:
            lines = "\n".join(f"  {number}. {finding}" for number, finding in enumerate(errors, 1))
            raise GraphInvalid(
                f"Graph {self.name!r} has {len(errors)} error{'s' if len(errors) > 1 else ''}:\n{lines}\n",
                findings=tuple(findings),
            )

    def compile(self, *, max_calls: int | None = None, **options: Any) -> App:
        """Check the graph and make it runnable; see ``App.create`` for the options.

        ``max_calls``: refuse a graph that may make more model calls in one run, by its ``bounds()``.
        Raises ``GraphInvalid`` with every finding at once.
        """
        from vertebra.runtime.app import App  # the one late import upward (DESIGN: Graph.compile)

        self.require_valid()
        if max_calls is not None:
            self.bounds().require(max_calls, self.name)
        return App.create(self, **options)

    @classmethod
    def from_langgraph(cls, builder: Any, *, name: str | None = None, version: str = "1") -> Any:
        """Adopt an existing LangGraph ``StateGraph``: its nodes run unchanged under journal and lease."""
        from vertebra.runtime.adoption import AdoptedGraph

        return AdoptedGraph(builder, name=name, version=version)

    def __repr__(self) -> str:
        d = self.definition
        return f"<Graph {d.name!r} version {d.version!r}: {len(d.nodes)} nodes>"
