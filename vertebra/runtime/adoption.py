"""Adopting an existing LangGraph ``StateGraph``: its nodes run unchanged, under journal, lease and run records.

Calls are recorded where the nodes' libraries use ``vertebra.http_client()``. What only a Vertebra graph
has (checks, validated updates, loop bounds, routers that cannot end a thread) an adopted one lacks.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vertebra.databases.keys import Encryption
from vertebra.errors import UsageError
from vertebra.graphs.shape import fingerprint
from vertebra.nodes.retry import because_of_an_answer
from vertebra.nodes.visit import Visit, current_visit, kept_before, visit_key
from vertebra.ports import crash_point
from vertebra.runtime import events
from vertebra.runtime.app import App
from vertebra.runtime.compiling import open_services
from vertebra.runtime.execution import as_node_error
from vertebra.runtime.place import Place
from vertebra.runtime.scope import Scope, require_scope
from vertebra.runtime.services import LEASE_TTL_S, MAX_RECOVERIES
from vertebra.runtime.siblings import belongs_to_langgraph
from vertebra.types import Run, VisitRecord

if TYPE_CHECKING:
    from vertebra.graphs.pictures import Picture
    from vertebra.graphs.pictures.palette import Theme


class AdoptedGraph:
    """A LangGraph builder with a name and a version. ``compile`` takes the options of ``Graph.compile``."""

    def __init__(self, builder: Any, *, name: str | None = None, version: str = "1") -> None:
        if not hasattr(builder, "nodes") or not hasattr(builder, "compile"):
            raise UsageError(
                f"{type(builder).__name__} is not a LangGraph StateGraph builder.",
                remedy="pass the StateGraph itself, before .compile().",
            )
        self.builder = builder
        self.name = str(name or getattr(builder.state_schema, "__name__", "adopted"))
        self.version = version

    def shape(self) -> dict[str, Any]:
        """Nodes and edges, as far as LangGraph knows them."""
        return {
            "name": self.name,
            "version": self.version,
            "nodes": dict.fromkeys(sorted(self.builder.nodes), "langgraph"),
            "edges": sorted(f"{source} -> {target}" for source, target in self.builder.edges),
            "choices": sorted(
                f"{source} ? {key} -> {target}"
                for source, branches in self.builder.branches.items()
                for branch in branches.values()
                for key, target in (branch.ends or {}).items()
            ),
        }

    def draw(self, *, run: Run | None = None, depth: int = 1, theme: Theme = "auto") -> Picture:
        """The graph as a ``Picture``; see ``Graph.draw``. What a router may choose is drawn where it says so."""
        from vertebra.graphs.pictures.sketch import sketch_of_builder

        return sketch_of_builder(f"{self.name} {self.version}", self.builder).picture(run=run, depth=depth, theme=theme)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.draw()._repr_mimebundle_(include, exclude)

    def fingerprint(self) -> str:
        """A digest of the shape."""
        return fingerprint(self.shape())

    def compile(
        self,
        *,
        checkpointer: Any = "memory://",
        journal: str | None = None,
        encryption: Encryption | None = None,
        models: Mapping[str, str] | None = None,
        default_model: str | None = None,
        lease_ttl_s: float = LEASE_TTL_S,
        max_recoveries: int = MAX_RECOVERIES,
        max_answer_bytes: int = 64_000_000,
        max_journal_bytes: int | None = None,
        clock: Any = None,
        sender: Any = None,
        store: Any = None,
        cache: Any = None,
        interrupt_before: Any = None,
        interrupt_after: Any = None,
    ) -> App:
        """Make the graph runnable; see ``App.create`` for the options, and LangGraph for the last four.

        A run that stops at a breakpoint is ``interrupted`` without a question: ``resume(thread)`` goes on.
        """
        services, owns = open_services(
            checkpointer,
            journal,
            encryption,
            _types_of(self.builder),
            models=models,
            default_model=default_model,
            lease_ttl_s=lease_ttl_s,
            max_recoveries=max_recoveries,
            max_answer_bytes=max_answer_bytes,
            max_journal_bytes=max_journal_bytes,
            clock=clock,
            sender=sender,
        )
        builder = copy.copy(self.builder)
        builder.nodes = {name: _wrapped(name, spec) for name, spec in self.builder.nodes.items()}
        compiled = builder.compile(
            checkpointer=services.store.saver,
            name=self.name,
            store=store,
            cache=cache,
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
        )
        return App(
            name=self.name,
            version=self.version,
            shape=self.shape(),
            services=services,
            owns_store=owns,
            graph=compiled,
            definition=None,
        )


def _wrapped(name: str, spec: Any) -> Any:
    from langchain_core.runnables import RunnableConfig, RunnableLambda

    async def run_node(state: Any, config: Any) -> Any:
        place = Place.of(config, name)
        async with require_scope().siblings.one_of(place.superstep):
            return await _execute(name, place, spec.runnable, state, config)

    run_node.__name__ = name
    run_node.__annotations__["config"] = RunnableConfig
    return dataclasses.replace(spec, runnable=RunnableLambda(run_node, name=name))


async def _execute(name: str, place: Place, runnable: Any, state: Any, config: Any) -> Any:
    scope = require_scope()
    outer = current_visit.get()
    key = visit_key(outer.key if outer else None, name, place.step, place.index, scope.branch)
    visit = scope.visit(key, name, place.step, place.namespace)
    scope.visits[key] = visit
    at = (scope.thread, name, place.step, key)
    scope.emit(events.NodeStarted(*at, 1))
    crash_point("node.started")
    started = scope.services.clock.now().timestamp()
    token = current_visit.set(visit)
    skipped = outer is None and (name, place.step) in scope.stand_ins
    try:
        result = scope.stand_ins[name, place.step] if skipped else await runnable.ainvoke(state, config)
    except Exception as error:
        if not belongs_to_langgraph(error):
            await _failed(scope, visit, at, started, error)
        raise
    finally:
        current_visit.reset(token)
        visit.close()
    await _ended(scope, visit, started, "skipped" if skipped else "done", None)
    seconds = scope.services.clock.now().timestamp() - started
    scope.emit(events.NodeSkipped(*at) if skipped else events.NodeFinished(*at, seconds, ()))
    scope.returned.append(name)
    crash_point("node.returned")
    scope.services.store.saver.expect(scope.thread, place.loop, place.task_id, node=name, step=place.step)
    return result


async def _failed(scope: Scope, visit: Visit, at: tuple[str, str, int, str], started: float, error: Exception) -> None:
    typed = as_node_error(error, visit.node)
    scope.failures.append((error, visit.node, visit.step))
    if because_of_an_answer(error) and visit.finished:
        # LangGraph's RetryPolicy would be fed the same recorded answer for ever.
        kept = kept_before(visit.finished, len(visit.epochs))
        await scope.journal.advance_epoch(visit.thread, visit.key, kept, type(error).__name__)
    await _ended(scope, visit, started, "failed", typed.to_json())
    scope.emit(events.NodeFailed(*at, typed))


async def _ended(scope: Scope, visit: Visit, started: float, outcome: str, error: Mapping[str, Any] | None) -> None:
    ended = scope.services.clock.now().timestamp()
    await scope.journal.visit_ended(
        scope.thread,
        VisitRecord(visit.key, visit.node, visit.step, visit.run_id, outcome, 1, started, ended, error),
    )


def _types_of(builder: Any) -> set[type[Any]]:
    """The types of the builder's schemas, and LangChain's messages, which LangGraph itself deems safe."""
    from vertebra.graphs.annotations import collect_types

    found: set[type[Any]] = set()
    for schema in builder.schemas:
        collect_types(schema, found)
    return found
