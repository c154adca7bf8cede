"""What users need to test their own agents: a scripted model, crash points, virtual time, conformance of savers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertebra.testing.asserting import GraphAssertions, assert_graph
    from vertebra.testing.books import BookEntry, Books
    from vertebra.testing.conforming import conformance
    from vertebra.testing.crash import CRASH_POINTS, crash_at
    from vertebra.testing.scripted_model import ScriptedModel
    from vertebra.testing.transport import ScriptedReply, ScriptedTransport
    from vertebra.testing.virtual_time import ShuffledLoop, Stopped, VirtualClock, run_shuffled

_HOMES = {
    "BookEntry": "books",
    "Books": "books",
    "CRASH_POINTS": "crash",
    "GraphAssertions": "asserting",
    "ScriptedModel": "scripted_model",
    "ScriptedReply": "transport",
    "ScriptedTransport": "transport",
    "ShuffledLoop": "virtual_time",
    "Stopped": "virtual_time",
    "VirtualClock": "virtual_time",
    "assert_graph": "asserting",
    "conformance": "conforming",
    "crash_at": "crash",
    "run_shuffled": "virtual_time",
}

__all__ = [
    "CRASH_POINTS",
    "BookEntry",
    "Books",
    "GraphAssertions",
    "ScriptedModel",
    "ScriptedReply",
    "ScriptedTransport",
    "ShuffledLoop",
    "Stopped",
    "VirtualClock",
    "assert_graph",
    "conformance",
    "crash_at",
    "run_shuffled",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vertebra.testing' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"vertebra.testing.{_HOMES[name]}"), name)
