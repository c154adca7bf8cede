"""The definition of a graph: its state, its checks, its shape, its compilation to LangGraph; and one that is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vertebra.graphs.authoring import Graph
from vertebra.graphs.state import Append

if TYPE_CHECKING:
    from vertebra.graphs.agents import Approval, agent
    from vertebra.graphs.tools import Tool, tool

_HOMES = {"Approval": "agents", "Tool": "tools", "agent": "agents", "tool": "tools"}

__all__ = ["Append", "Approval", "Graph", "Tool", "agent", "tool"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vertebra.graphs' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"vertebra.graphs.{_HOMES[name]}"), name)
