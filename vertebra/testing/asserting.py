"""Claims about a graph as assertions of a test."""

from __future__ import annotations

from typing import Any


class GraphAssertions:
    """What ``assert_graph`` returns."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def always(self, node: Any = None, **claim: Any) -> GraphAssertions:
        """Fail unless the claim holds for every path; takes what ``Graph.prove`` takes, and can be chained."""
        __tracebackhide__ = True
        proof = self._graph.prove(node, **claim)
        if not proof:
            raise AssertionError(f"graph {self._graph.name!r}: {proof}")
        return self


def assert_graph(graph: Any) -> GraphAssertions:
    """Assert something of every path of a graph: ``assert_graph(g).always(approve, before=pay)``."""
    return GraphAssertions(graph)
