"""The decorators that say what a node is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from vertebra.errors import UsageError
from vertebra.nodes.retry import ONCE, Retry
from vertebra.nodes.signature import parameters_of
from vertebra.nodes.waivers import read_waivers

NodeKind = Literal["transition", "llm", "effect", "human", "subgraph", "plain"]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """All that is declared about a node. ``fn`` is called with the state (or item) and what else it names."""

    name: str
    kind: NodeKind
    fn: Callable[..., Any]
    task: str | None = None
    retry: Retry = ONCE
    timeout_s: float | None = None
    fallback: str | None = None
    answer: Any = None
    into: str | None = None
    writes: tuple[str, ...] | None = None
    reads: tuple[str, ...] | None = None
    check: Callable[..., Any] | None = None
    parameters: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_async(self) -> bool:
        fn = getattr(self.fn, "func", self.fn)
        return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004

    def named(self, name: str) -> NodeSpec:
        return replace(self, name=name)


class Node(Generic[P, R]):
    """A decorated function: still callable as written, with its declaration in ``spec``."""

    def __init__(self, fn: Callable[P, R], spec: NodeSpec) -> None:
        self.spec = spec
        self._fn = fn
        functools.update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._fn(*args, **kwargs)

    @property
    def name(self) -> str:
        return self.spec.name

    def __repr__(self) -> str:
        return f"<{self.spec.kind} node {self.spec.name!r}>"


Decorator = Callable[[Callable[P, R]], Node[P, R]]


def spec_of(fn: Callable[..., Any], kind: NodeKind, **declared: Any) -> NodeSpec:
    """Build the declaration of ``fn``; refuses what cannot work, where it is written."""
    if not callable(fn):
        raise UsageError(
            f"{fn!r} is not a function and cannot be a node.",
            remedy="decorate a function; what is declared about it goes by name, such as @llm(task='summarise').",
        )
    name = getattr(fn, "__name__", type(fn).__name__)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(
            f"{name!r} yields, but a node returns its update.",
            remedy="return a dict; ctx.emit(...) sends what comes first.",
        )
    timeout_s = declared.get("timeout_s")
    if timeout_s is not None and timeout_s <= 0:
        raise UsageError(f"timeout_s of {name!r} is {timeout_s}; it must be seconds above 0.", remedy="mend it.")
    writes, reads = declared.pop("writes", None), declared.pop("reads", None)
    waivers = read_waivers(declared.pop("waive", None), f"node {name!r}")
    fallback = declared.pop("fallback", None)
    spec = NodeSpec(
        name=name,
        kind=kind,
        fn=fn,
        writes=_names(writes),
        reads=_names(reads),
        waivers=waivers,
        fallback=node_name(fallback) if fallback is not None else None,
        parameters=parameters_of(fn),
        **{key: value for key, value in declared.items() if value is not None},
    )
    if kind == "transition" and spec.is_async:
        raise UsageError(
            f"@transition {name!r} is `async def`, but a transition waits for nothing.",
            remedy="write it as `def`, or make it an @llm or @effect node.",
        )
    return spec


def _names(given: Any) -> tuple[str, ...] | None:
    return None if given is None else (given,) if isinstance(given, str) else tuple(given)


def node_name(node: str | Node[..., Any] | Callable[..., Any]) -> str:
    """The name by which a node is known: given as it is, or that of its function."""
    if isinstance(node, str):
        return node
    if isinstance(node, Node):
        return node.name
    name = getattr(node, "__name__", None)
    if not isinstance(name, str):
        raise UsageError(f"{node!r} has no name to be known by as a node.", remedy="add it with add_node(name, node).")
    return name


@overload
def transition(fn: Callable[P, R], /) -> Node[P, R]: ...
@overload
def transition(
    *,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    writes: tuple[str, ...] | None = None,
    reads: tuple[str, ...] | None = None,
    waive: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]: ...
def transition(
    fn: Any = None,
    /,
    *,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    writes: Any = None,
    reads: Any = None,
    waive: Any = None,
) -> Any:
    """A deterministic step: the same state gives the same update, which replay verifies.

    It has no model client; time and chance come from ``ctx.now()``, ``ctx.random`` and ``ctx.uuid()``.
    """
    common = {"retry": retry, "timeout_s": timeout_s, "fallback": fallback}
    return _decorate(fn, "transition", **common, writes=writes, reads=reads, waive=waive)


@overload
def llm(fn: Callable[P, R], /) -> Node[P, R]: ...
@overload
def llm(
    *,
    task: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    writes: tuple[str, ...] | None = None,
    reads: tuple[str, ...] | None = None,
    waive: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]: ...
def llm(
    fn: Any = None,
    /,
    *,
    task: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    writes: Any = None,
    reads: Any = None,
    waive: Any = None,
) -> Any:
    """A node that asks models through ``ctx.client``; its calls are journaled and never paid twice.

    ``task`` becomes ``ctx.model`` by the policy (default: the function's name). ``fallback`` names a
    node that stands in, with the same input, when the retries are used up.
    """
    common = {"retry": retry or Retry(), "timeout_s": timeout_s, "fallback": fallback}
    return _decorate(fn, "llm", task=task, **common, writes=writes, reads=reads, waive=waive)


@overload
def effect(fn: Callable[P, R], /) -> Node[P, R]: ...
@overload
def effect(
    *,
    check: Callable[..., Any] | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    writes: tuple[str, ...] | None = None,
    reads: tuple[str, ...] | None = None,
    waive: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]: ...
def effect(
    fn: Any = None,
    /,
    *,
    check: Callable[..., Any] | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    writes: Any = None,
    reads: Any = None,
    waive: Any = None,
) -> Any:
    """A write to another system, or a tool: its result is journaled under its arguments.

    Pass ``ctx.idempotency_key`` on to the other system: it is the same on every attempt.
    ``check(same arguments)`` is asked, after a crash between doing and recording, what became of it:
    it returns the result if it was done, None if it was not. The result must be JSON.
    """
    common = {"retry": retry, "timeout_s": timeout_s, "fallback": fallback}
    return _decorate(fn, "effect", check=check, **common, writes=writes, reads=reads, waive=waive)


@overload
def human(fn: Callable[P, R], /) -> Node[P, R]: ...
@overload
def human(
    *,
    answer: Any = str,
    into: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    reads: tuple[str, ...] | None = None,
    waive: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]: ...
def human(
    fn: Any = None,
    /,
    *,
    answer: Any = str,
    into: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    fallback: Any = None,
    reads: Any = None,
    waive: Any = None,
) -> Any:
    """A question to a person: the function returns a ``Question`` (or a text).

    The run stops as ``interrupted``; the answer is validated against ``answer`` (a pydantic model or
    any type; by default a text) and put into the state's field ``into`` (default: the only field of
    that type). ``timeout_s`` limits the function, not the person: see ``Question.deadline_s``.
    """
    common = {"retry": retry, "timeout_s": timeout_s, "fallback": fallback}
    return _decorate(fn, "human", answer=answer, into=into, **common, reads=reads, waive=waive)


def _decorate(fn: Any, kind: NodeKind, **declared: Any) -> Any:
    def wrap(fn: Callable[..., Any]) -> Node[..., Any]:
        spec = spec_of(fn, kind, **declared)
        return Node(fn, replace(spec, task=spec.task or spec.name) if kind == "llm" else spec)

    return wrap if fn is None else wrap(fn)
