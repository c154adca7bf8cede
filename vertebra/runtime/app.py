"""A compiled graph: run, resume, recover, cancel and watch its threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.opening import Store
from vertebra.checkpointers.unstorable import unstorable
from vertebra.databases.keys import Encryption
from vertebra.errors import AppDraining, InvalidInput, VertebraError
from vertebra.graphs.authoring import Graph
from vertebra.graphs.definition import Definition
from vertebra.graphs.shape import fingerprint, shape
from vertebra.ports import Clock, Sender
from vertebra.runtime import events
from vertebra.runtime.compiling import compile_definition, open_services, state_types
from vertebra.runtime.driving import Drive
from vertebra.runtime.forking import fork_thread
from vertebra.runtime.langgraph_face import LangGraphFace
from vertebra.runtime.listening import UNSET, events_of
from vertebra.runtime.records_face import RecordsFace
from vertebra.runtime.recovering import recover_runs
from vertebra.runtime.scope import Listener
from vertebra.runtime.services import LEASE_TTL_S, MAX_RECOVERIES, AppServices
from vertebra.runtime.session import Heart
from vertebra.runtime.shared_store import require_store
from vertebra.runtime.starting import Caller, resume_run, start_run, thread_or_fresh
from vertebra.runtime.sync_face import SyncFace
from vertebra.types import Run

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

    from vertebra.graphs.pictures.sketch import Sketch
    from vertebra.memory import Memory
    from vertebra.nodes.kinds import NodeSpec


class App(RecordsFace, LangGraphFace, SyncFace):
    """Made by ``Graph.compile``. A context manager, sync and async; works without.

    One app serves any number of threads, event loops and OS threads at once.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        shape: Mapping[str, Any],
        services: AppServices,
        owns_store: bool,
        owns_memory: bool = False,
        graph: Any,
        definition: Definition | None,
    ) -> None:
        self.name = name
        self.version = version
        self.shape = shape
        self.fingerprint = fingerprint(shape)
        self.services = services
        self.graph = graph
        self.definition = definition
        self.heart = Heart(services.store)
        self.active: dict[str, Drive] = {}
        self._owns_store = owns_store
        self._owns_memory = owns_memory
        self._draining = False
        self._control: Any = None

    @classmethod
    def create(
        cls,
        graph: Graph,
        *,
        checkpointer: str | Store | Any = "memory://",
        journal: str | None = None,
        encryption: Encryption | None = None,
        memory: str | Memory | None = None,
        store: BaseStore | None = None,
        models: Mapping[str, str] | None = None,
        default_model: str | None = None,
        lease_ttl_s: float = LEASE_TTL_S,
        max_recoveries: int = MAX_RECOVERIES,
        max_answer_bytes: int = 64_000_000,
        max_journal_bytes: int | None = None,
        clock: Clock | None = None,
        sender: Sender | None = None,
    ) -> App:
        """What ``Graph.compile`` does after the checks.

        ``checkpointer``: a URL (``memory://``, ``sqlite:///file``, ``postgresql://...``), an open
        store, or a LangGraph saver; with a saver, ``journal`` is the URL for journal and run records.
        ``encryption``: the key, or keys, under which content is sealed in the databases that are opened here, of
        state and of memory: see ``open_checkpointer`` and ``open_memory``.
        ``memory``: a URL, or an open ``Memory``: what ``ctx.memory`` is in nodes; often another database.
        ``store``: a LangGraph ``BaseStore``, such as ``memory.store()``: what ``get_store()`` gives in nodes. What they
        put is a plain write, done again with each execution; ``ctx.memory`` is what happens once.
        ``models`` turns tasks of ``@llm`` into models, ``default_model`` serves the others.
        ``lease_ttl_s``: after this long without a heartbeat another process may take a thread over.
        ``max_recoveries``: how often a run may kill its process without progress until it is set aside.
        ``max_answer_bytes``: of one answer. ``max_journal_bytes``: of all requests and answers of a thread; with
        more, its next call is not sent (``JournalFull``). None: no bound.
        """
        definition = graph.definition
        require_store(store)
        services, owns = open_services(
            checkpointer,
            journal,
            encryption,
            state_types(definition),
            memory=memory,
            models=models,
            default_model=default_model,
            lease_ttl_s=lease_ttl_s,
            max_recoveries=max_recoveries,
            max_answer_bytes=max_answer_bytes,
            max_journal_bytes=max_journal_bytes,
            clock=clock,
            sender=sender,
        )
        compiled = compile_definition(definition).compile(
            checkpointer=services.store.saver, name=definition.name, store=store
        )
        return cls(
            name=definition.name,
            version=definition.version,
            shape=shape(definition),
            services=services,
            owns_store=owns,
            owns_memory=isinstance(memory, str),
            graph=compiled,
            definition=definition,
        )

    async def run(
        self,
        input: Any = None,
        *,
        thread_id: str | None = None,
        principal: Any = None,
        wait_s: float = 0.0,
        on_event: Listener | None = None,
    ) -> Run:
        """Start a run and drive it to its end or next question.

        On a new ``thread_id`` (default: a fresh one), or on one that has ended: then it is a further
        turn. Called again with the same input while the run has failed or its process has died, it
        resumes it, unless it was set aside; with another input it raises ``ThreadNotFinished``. Also
        raises ``InvalidInput``, ``ThreadBusy`` (after ``wait_s`` seconds), ``GraphChanged``. A run that
        fails is returned, with its ``error``: see ``Run.raise_for_status``.
        """
        self.require_open()
        return await start_run(self, thread_or_fresh(thread_id), Caller(principal, wait_s, on_event), input)

    async def resume(
        self,
        thread_id: str,
        answer: Any = UNSET,
        *,
        interrupt_id: str | None = None,
        skip: Any = None,
        update: Any = None,
        fresh: Any = None,
        principal: Any = None,
        wait_s: float = 0.0,
        on_event: Listener | None = None,
    ) -> Run:
        """Drive a thread on: with the answer to its question, or from where it failed or died.

        An answer belongs to one interrupt: given again it changes nothing; another answer raises
        ``AnswerMismatch``. ``interrupt_id`` may be left out while exactly one question waits.
        ``skip=node, update=...`` puts ``update`` in the place of what a stuck node would have
        returned; ``fresh=node`` asks its calls anew. Both are recorded. A thread that has ended is
        returned as it is.
        """
        self.require_open()
        return await resume_run(
            self,
            thread_id,
            Caller(principal, wait_s, on_event),
            answer=answer,
            interrupt_id=interrupt_id,
            skip=skip,
            update=update,
            fresh=fresh,
        )

    async def recover(
        self, thread_id: str | None = None, *, at_once: int = 8, on_event: Listener | None = None
    ) -> list[Run]:
        """Drive on every run of this graph whose process has died, and every one whose timer is due.

        Returns a ``Run`` for each. A run that keeps killing its processes is set aside as ``failed``
        with ``CrashLoop``; one that another process takes first is left out. One that cannot be driven on
        (``GraphChanged``, ``StoreError``, whatever a checkpointer of your own raises) stays as it was: its ``Run`` has
        the ``error``, and the others go on.
        With ``thread_id`` only that one, if it needs it. Raises ``ThreadNotFound``, ``GraphChanged`` for it.
        """
        self.require_open()
        return await recover_runs(self, thread_id, at_once, on_event)

    async def fork(
        self,
        thread: str,
        *,
        at: str | None = None,
        update: Any = None,
        as_node: Any = None,
        fresh: bool = False,
        thread_id: str | None = None,
    ) -> Run:
        """Make a new thread that stands where ``thread`` stood at checkpoint ``at`` (default: its latest).

        The parent is untouched, and may be driven meanwhile. ``update`` changes the fork's state as if the
        nodes that ran last had returned it, so that their routers choose anew; ``as_node`` names another
        node. The fork has the recorded answers that lie ahead of it: driven on by ``resume``, it asks only
        what differs; ``fresh``: it has none, and does effects again. People are asked again in any case.
        ``thread_id``: of the new thread (default: a fresh one). Raises ``ThreadNotFound``,
        ``CheckpointNotFound``, ``RecordPruned``, ``ThreadExists``, ``GraphChanged``, ``InvalidUpdate``,
        ``RouterFailed``, ``UsageError``, and ``ThreadBusy`` while another process makes the same fork.
        """
        self.require_open()
        return await fork_thread(self, thread, at, update, as_node, fresh, thread_or_fresh(thread_id))

    async def cancel(self, thread_id: str) -> bool:
        """Cancel a thread. True if it is cancelled now, False if its process has been asked to stop."""
        done = await self.services.store.runs.request_cancel(thread_id)
        drive = self.active.get(thread_id)
        if not done and drive is not None:
            drive.cancel()
        return done

    async def events(
        self, input: Any = UNSET, *, thread_id: str | None = None, **options: Any
    ) -> AsyncIterator[events.Event]:
        """``run(input)``, or without an input ``resume(thread_id, ...)``, as a stream of typed events.

        The last one is ``RunEnded``. Leaving the loop early stops the drive at its last durable
        edge; the thread can be recovered.
        """
        async with aclosing(events_of(self, input, thread_id, options)) as found:
            async for event in found:
                yield event

    async def drain(self, reason: str = "shutdown") -> None:
        """Stop every drive of this app after its present superstep; the threads can be recovered at once.

        From here on the app drives nothing: ``run``, ``resume`` and ``recover`` raise ``AppDraining``.
        """
        self._draining = True
        self.control.request_drain(reason)
        while self.active:
            await self.services.clock.sleep(0.02)

    @cached_property
    def sketch(self) -> Sketch:
        """The graph as it is drawn."""
        from vertebra.graphs.pictures.sketch import sketch_of, sketch_of_builder

        if self.definition is None:
            return sketch_of_builder(f"{self.name} {self.version}", self.graph.builder)
        return sketch_of(self.definition)

    def require_open(self) -> None:
        """Raise ``AppDraining`` once ``drain`` was called."""
        if self._draining:
            raise AppDraining(f"App {self.name!r} is draining.", graph=self.name)

    @property
    def control(self) -> Any:
        """LangGraph's switch for draining, shared by all drives of this app."""
        if self._control is None:
            from langgraph.runtime import RunControl

            self._control = RunControl()
        return self._control

    def read_input(self, given: Any, *, fresh: bool) -> dict[str, Any]:
        """Channel values from what the caller passed."""
        if self.definition is None:
            return dict(given or {})
        return self.definition.schema.read_input(given if given is not None else {}, fresh=fresh)

    def pack(self, values: Any, error: type[VertebraError] = InvalidInput, **where: Any) -> bytes:
        """Values of the state as they are kept in run records and interventions.

        Raises ``error``, with ``where`` in its context, for a value that cannot be stored.
        """
        serde = self.services.store.saver.serde
        try:
            kind, data = serde.dumps_typed(values)
        except Exception as why:
            raise unstorable(why, serde, dict(values).items(), kind=error, **where) from why
        return kind.encode() + b"\n" + data

    def unpack(self, data: bytes) -> Any:
        """The inverse of ``pack``; only the types of the state's schema come back as objects."""
        kind, _, packed = data.partition(b"\n")
        return self.services.store.saver.serde.loads_typed((kind.decode(), packed))

    def output_of(self, values: Any) -> Any:
        """The state as users see it."""
        if self.definition is None or not isinstance(values, Mapping):
            return values
        return self.definition.schema.output(values) if values else None

    @property
    def public_channels(self) -> list[str]:
        """The fields of the state, without what the spine keeps beside them."""
        return [] if self.definition is None else list(self.definition.schema.fields)

    def spec_of(self, node: str) -> NodeSpec | None:
        """The declaration of a node; of a subgraph's by its own name."""
        return None if self.definition is None else _find_spec(self.definition, node)

    async def aclose(self) -> None:
        """Close what this app opened."""
        await self.services.door.parts.sender.aclose()
        self.close()

    def close(self) -> None:
        """As ``aclose``, from sync code."""
        self.services.close()
        if self._owns_store:
            self.services.store.close()
        if self._owns_memory and self.services.memory is not None:
            self.services.memory.close()

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> App:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<App {self.name!r} version {self.version!r} on {self.services.store.url}>"


def _find_spec(definition: Definition, node: str) -> NodeSpec | None:
    if node in definition.nodes:
        return definition.nodes[node]
    for graph in definition.subgraphs.values():
        found = _find_spec(graph.definition, node)
        if found is not None:
            return found
    return None


__all__ = ["UNSET", "App"]
