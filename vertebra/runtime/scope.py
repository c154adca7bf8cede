"""One drive of one thread: what its nodes share, found through a context variable."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vertebra.errors import UnknownTask, UsageError
from vertebra.nodes.kinds import Node, NodeSpec, spec_of
from vertebra.nodes.retry import Retry
from vertebra.nodes.visit import Visit
from vertebra.ports import JournalPort
from vertebra.runtime import effects, events, portal
from vertebra.runtime.claims import Claims
from vertebra.runtime.door import Door
from vertebra.runtime.remembering import NodeMemory, ThreadMemory
from vertebra.runtime.siblings import Siblings

if TYPE_CHECKING:
    from vertebra.runtime.services import AppServices

Listener = Callable[[events.Event], None]


@dataclass
class Scope:
    """Implements what a node's context asks for (``nodes.context.Services``)."""

    services: AppServices
    thread: str
    run_id: str
    branch: str
    principal: Any
    listener: Listener | None = None
    _: KW_ONLY
    journal: JournalPort
    """Under the lease of this drive: what it writes late, after a takeover, is refused."""
    specs: dict[str, NodeSpec] = field(default_factory=dict)
    visits: dict[str, Visit] = field(default_factory=dict)
    returned: list[str] = field(default_factory=list)
    claims: Claims = field(default_factory=Claims)
    siblings: Siblings = field(default_factory=Siblings)
    failures: list[tuple[Exception, str, int]] = field(default_factory=list)
    """What nodes of an adopted graph raised, and their name and step: LangGraph hands on the error alone."""
    stand_ins: Mapping[tuple[str, int], Any] = field(default_factory=dict)
    """What a person put in the place of a node's output, by node and step."""
    seed: str | None = None
    """The thread whose chance this one goes on with (``ThreadRecord.seed``)."""
    known_as: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """What a node was called when the thread came to it, by its present name and step: its calls are found so."""
    memory_of: ThreadMemory | None = None
    """What the app's memory is to this thread; None where it has none."""
    _inner: dict[str, Visit] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def door(self) -> Door:
        return self.services.door

    def emit(self, event: events.Event) -> None:
        if self.listener is not None:
            self.listener(event)

    def observe(self, kind: str, visit: Visit, details: Mapping[str, Any]) -> None:
        """Turn a notice of the door into an event."""
        if self.listener is None:
            return
        place = (visit.thread, visit.node, visit.step, visit.key)
        if kind == "token":
            self.emit(events.Token(*place, details["text"]))
        else:
            self.emit(events.CallFinished(*place, **details))

    def retry_of(self, visit: Visit) -> Retry:
        spec = self.specs.get(visit.key)
        return spec.retry if spec is not None and spec.kind in ("llm", "effect") else Retry()

    def async_client(self, visit: Visit) -> Any:
        return self.services.openai_client(lambda: (self, visit), sync=False)

    def sync_client(self, visit: Visit) -> Any:
        return self.services.openai_client(lambda: (self, visit), sync=True)

    def record_now(self, visit: Visit) -> datetime:
        name = visit.next_value_name("now")
        text = self.services.clock.now().isoformat()
        return datetime.fromisoformat(self.journal.record_value_sync(visit.thread, visit.key, name, text))

    def model_for(self, node: str, task: str | None) -> str:
        model = self.services.models.get(task or node) or self.services.default_model
        if model is None:
            raise UnknownTask(f"No model is configured for task {task or node!r}.", node=node, task=task)
        return model

    def memory(self, visit: Visit) -> Any:
        if self.memory_of is None:
            raise UsageError(
                f"Node {visit.node!r} asked for the memory, and the graph was compiled without one.",
                remedy="compile it with memory=URL, such as sqlite:///memory.db.",
                node=visit.node,
            )
        return NodeMemory(self, self.memory_of, visit, lambda: self._model_of(visit))

    def _model_of(self, visit: Visit) -> str | None:
        spec = self.specs.get(visit.key)
        with contextlib.suppress(UnknownTask):
            return self.model_for(visit.node, spec.task) if spec is not None and spec.kind == "llm" else None
        return None

    def emit_custom(self, visit: Visit, payload: Any) -> None:
        self.emit(events.Custom(visit.thread, visit.node, visit.step, visit.key, payload))
        from langgraph.config import get_stream_writer

        with contextlib.suppress(RuntimeError):  # a thread that the node started is outside of LangGraph's context
            get_stream_writer()(payload)

    async def run_effect(self, visit: Visit, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from vertebra.runtime.calling import invoke

        spec = fn.spec if isinstance(fn, Node) else spec_of(fn, "effect")
        arguments = effects.bound_arguments(fn, args, kwargs)

        async def do(key: str) -> Any:
            return await invoke(self, spec, visit, args, kwargs, idempotency_key=key)

        async def check(key: str) -> Any:
            assert spec.check is not None
            return await invoke(self, spec_of(spec.check, "effect"), visit, args, kwargs, idempotency_key=key)

        return await effects.once(
            self.door, visit, effects.effect_name(fn), arguments, do, check if spec.check is not None else None
        )

    def run_effect_sync(self, visit: Visit, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with visit.on_this_strand():
            return portal.calls.call(self.run_effect, visit, fn, args, kwargs)

    def visit(self, key: str, node: str, step: int, namespace: str) -> Visit:
        """The books of one execution in this drive."""
        return Visit(
            *(self.thread, key, node, step, self.run_id, namespace),
            observer=self.observe,
            journal=self.journal,
            seed_thread=self.seed,
        )

    def inner_visit(self, visit: Visit) -> Visit:
        """The visit of a node inside a LangGraph subgraph that a node called by itself.

        Its place is read from LangGraph's own config, so that its calls are not mixed up with those
        of other nodes of that subgraph.
        """
        try:
            from langgraph.config import get_config

            metadata = get_config().get("metadata") or {}
        except (ImportError, RuntimeError):
            return visit
        namespace = metadata.get("langgraph_checkpoint_ns")
        if not isinstance(namespace, str) or namespace == visit.checkpoint_ns:
            return visit
        from vertebra.nodes.visit import visit_key

        node, step = str(metadata.get("langgraph_node")), int(metadata.get("langgraph_step", 0))
        with self._lock:
            inner = self._inner.get(f"{visit.key}\x1f{namespace}")
            if inner is None or inner.closed:
                key = visit_key(visit.key, node, step, send_index(metadata.get("langgraph_path")), self.branch)
                inner = self.visit(key, node, step, namespace)
                self._inner[f"{visit.key}\x1f{namespace}"] = inner
        return inner


def send_index(path: Any) -> int | None:
    """The index within a fan-out, from LangGraph's task path (``("__pregel_push", index, ...)``)."""
    if isinstance(path, list | tuple) and len(path) > 1 and path[0] == "__pregel_push" and isinstance(path[1], int):
        return path[1]
    return None


current_scope: ContextVar[Scope | None] = ContextVar("vertebra_scope", default=None)


def require_scope() -> Scope:
    """The scope of the running drive. Raises ``UsageError`` where a graph is run past its app."""
    scope = current_scope.get()
    if scope is None:
        raise UsageError(
            "A node of a Vertebra graph was run outside of its app, so nothing could be recorded.",
            remedy="run it through graph.compile(...).",
        )
    return scope
