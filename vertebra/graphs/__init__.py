"""The definition of a graph: its state, its checks, its shape, its compilation to LangGraph."""

from vertebra.graphs.definition import Graph
from vertebra.graphs.state import Append, StateSchema

__all__ = ["Append", "Graph", "StateSchema"]
