"""Vertebra: agents as explicit state graphs with a deterministic spine.

The names below load when they are used, so that importing the package stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vertebra.types import END, START

if TYPE_CHECKING:
    from vertebra.checkpointers import open_checkpointer
    from vertebra.errors import VertebraError
    from vertebra.graphs import Append, Graph
    from vertebra.graphs.bounding import Bounds
    from vertebra.graphs.pictures import Picture
    from vertebra.graphs.proofs import Proof
    from vertebra.memory import open_memory
    from vertebra.nodes import Context, Question, Retry, effect, human, llm, transition
    from vertebra.runtime import App, http_client
    from vertebra.types import (
        Difference,
        Edge,
        Finding,
        Interrupt,
        Pruned,
        Run,
        Standing,
        ThreadTree,
        Usage,
        Verification,
    )

__version__ = "0.1.0"

_HOMES = {
    "App": "vertebra.runtime",
    "Append": "vertebra.graphs",
    "Bounds": "vertebra.graphs.bounding",
    "Context": "vertebra.nodes",
    "Difference": "vertebra.types",
    "Edge": "vertebra.types",
    "Finding": "vertebra.types",
    "Graph": "vertebra.graphs",
    "Interrupt": "vertebra.types",
    "Picture": "vertebra.graphs.pictures",
    "Proof": "vertebra.graphs.proofs",
    "Pruned": "vertebra.types",
    "Question": "vertebra.nodes",
    "Retry": "vertebra.nodes",
    "Run": "vertebra.types",
    "Standing": "vertebra.types",
    "ThreadTree": "vertebra.types",
    "Usage": "vertebra.types",
    "Verification": "vertebra.types",
    "VertebraError": "vertebra.errors",
    "effect": "vertebra.nodes",
    "http_client": "vertebra.runtime",
    "human": "vertebra.nodes",
    "llm": "vertebra.nodes",
    "open_checkpointer": "vertebra.checkpointers",
    "open_memory": "vertebra.memory",
    "transition": "vertebra.nodes",
}

__all__ = [
    "END",
    "START",
    "App",
    "Append",
    "Bounds",
    "Context",
    "Difference",
    "Edge",
    "Finding",
    "Graph",
    "Interrupt",
    "Picture",
    "Proof",
    "Pruned",
    "Question",
    "Retry",
    "Run",
    "Standing",
    "ThreadTree",
    "Usage",
    "Verification",
    "VertebraError",
    "__version__",
    "effect",
    "http_client",
    "human",
    "llm",
    "open_checkpointer",
    "open_memory",
    "transition",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vertebra' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
