"""What a node is handed beside its input: clients, recorded time and chance, and where it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from logging import Logger, LoggerAdapter
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from vertebra.errors import UsageError
from vertebra.nodes.visit import Visit
from vertebra.ports import NodeMemory

if TYPE_CHECKING:
    import openai


class Services(Protocol):
    """What the runtime provides to a context."""

    def async_client(self, visit: Visit) -> openai.AsyncOpenAI: ...
    def sync_client(self, visit: Visit) -> openai.OpenAI: ...
    def record_now(self, visit: Visit) -> datetime: ...
    def model_for(self, node: str, task: str | None) -> str: ...
    def memory(self, visit: Visit) -> NodeMemory: ...
    def emit_custom(self, visit: Visit, payload: Any) -> None: ...
    async def run_effect(self, visit: Visit, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def run_effect_sync(self, visit: Visit, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


class Context:
    """Handed to a node that has a parameter ``ctx``.

    ``client`` and ``sync_client`` are the official ``openai`` clients; every request they make is
    journaled. ``now()``, ``random`` and ``uuid()`` give the same on replay: use them instead of the
    clock and ``random``.
    """

    def __init__(
        self,
        services: Services,
        visit: Visit,
        *,
        kind: str,
        task: str | None,
        attempt: int,
        principal: Any,
        log: LoggerAdapter[Logger],
        idempotency_key: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._services = services
        self._visit = visit
        self._kind = kind
        self._task = task
        self._random: Random | None = None
        self._uuids: Random | None = None
        self._clients: dict[str, Any] = {}
        self.attempt = attempt
        """Which execution of the node this is, from 1, within this process."""
        self.principal = principal
        """On whose behalf the run acts, as given to ``run(principal=)``."""
        self.log = log
        """A logger that knows thread, node and step."""
        self.idempotency_key = idempotency_key
        """In an effect: the key to hand to the other system, the same on every attempt."""
        self.error = error
        """In a fallback node: what the node it stands in for failed with."""

    @property
    def thread_id(self) -> str:
        return self._visit.thread

    @property
    def run_id(self) -> str:
        return self._visit.run_id

    @property
    def node(self) -> str:
        return self._visit.node

    @property
    def step(self) -> int:
        """The superstep of the thread in which this node runs."""
        return self._visit.step

    @property
    def model(self) -> str:
        """The model for this node's task, as the policy chose it. Raises ``UnknownTask``."""
        return self._services.model_for(self._visit.node, self._task)

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The official async client. A transition has none."""
        return self._client("async", self._services.async_client)  # type: ignore[no-any-return]

    @property
    def sync_client(self) -> openai.OpenAI:
        """The official sync client, for nodes written as ``def``."""
        return self._client("sync", self._services.sync_client)  # type: ignore[no-any-return]

    def _client(self, name: str, make: Callable[[Visit], Any]) -> Any:
        if self._kind == "transition":
            raise UsageError(
                f"Node {self.node!r} is a @transition and asked for a model client.",
                remedy="make it an @llm node: transitions must be deterministic.",
                node=self.node,
            )
        if name not in self._clients:
            self._clients[name] = make(self._visit)
        return self._clients[name]

    @property
    def memory(self) -> NodeMemory:
        """The memory that the graph was compiled with. Raises ``UsageError`` where it has none."""
        return self._services.memory(self._visit)

    def now(self) -> datetime:
        """The time in UTC, recorded: the first execution's time on every later one."""
        return self._services.record_now(self._visit)

    @property
    def random(self) -> Random:
        """A generator that gives the same numbers whenever this visit is executed again."""
        if self._random is None:
            self._random = self._visit.random()
        return self._random

    def uuid(self) -> uuid.UUID:
        """A version 4 UUID, the same on replay, independent of ``random``."""
        if self._uuids is None:
            self._uuids = Random(f"uuid\x1f{self._visit.seed}")
        return uuid.UUID(int=self._uuids.getrandbits(128), version=4)

    def emit(self, payload: Any) -> None:
        """Send ``payload`` to whoever listens to ``events()`` (or LangGraph's ``custom`` stream)."""
        self._services.emit_custom(self._visit, payload)

    async def effect(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` once for these arguments in this visit; its JSON result is journaled."""
        return await self._services.run_effect(self._visit, fn, args, kwargs)

    def effect_sync(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """``effect`` for nodes written as ``def``."""
        return self._services.run_effect_sync(self._visit, fn, args, kwargs)
