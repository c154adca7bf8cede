"""How a function is called as a node: the state (or item) first, what else it names by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from vertebra.errors import UsageError

HANDED = ("ctx", "context", "config")
"""The names of parameters, after the first, that a node is handed something for."""


def parameters_of(fn: Callable[..., Any]) -> tuple[str, ...]:
    """The names of its parameters; for a builtin that does not tell, one."""
    try:
        return tuple(inspect.signature(fn).parameters)
    except ValueError:
        return ("state",)


def require_node(name: str, fn: Callable[..., Any]) -> None:
    """Raise ``UsageError`` unless ``fn`` can be called as a node."""
    fault = _fault(fn)
    if fault is not None:
        raise UsageError(
            f"Node {name!r} cannot be called as a node: {fault}.",
            remedy=f"take the state (or item) first, then any of {', '.join(HANDED)} by these names.",
        )


def _fault(fn: Callable[..., Any]) -> str | None:
    names = parameters_of(fn)
    if names[:1] == ("ctx",):
        return "it takes ctx first"
    try:
        if names:
            inspect.signature(fn).bind(None, **{name: None for name in HANDED if name in names[1:]})
    except ValueError:
        return None  # a builtin: it will be tried
    except TypeError as error:
        return str(error)
    return None
