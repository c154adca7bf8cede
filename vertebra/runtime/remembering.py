"""``ctx.memory``: conversations as a node holds them.

What a node appends is kept with its visit until the superstep commits. What it reads is bounded by what there was
when the visit first looked, and that bound is recorded: executed again, it reads the same, and asks the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from vertebra.databases.database import Tx
from vertebra.errors import UsageError
from vertebra.memory import Memory, Window, lineage, reading
from vertebra.memory.conversation import tokens_of
from vertebra.memory.counting import TokenCounter
from vertebra.memory.delivering import Posting
from vertebra.memory.lineage import Ancestor, Line
from vertebra.memory.messages import read_message
from vertebra.memory.place import Place, name_of, place
from vertebra.memory.records import MAIN, Message, Provenance
from vertebra.memory.windows import Strategy, View
from vertebra.nodes.visit import Visit, outer_step
from vertebra.ports import JournalPort
from vertebra.runtime import portal, windowing

if TYPE_CHECKING:
    from vertebra.runtime.app import App
    from vertebra.runtime.scope import Scope
    from vertebra.types import ThreadRecord

T = TypeVar("T")

BOOKS = "vertebra.memory"
"""The name under which the journal keeps what holds for all visits of a run."""


@dataclass(frozen=True)
class ThreadMemory:
    """What the memory is to one thread: whose it is, and on which line of a conversation it speaks."""

    memory: Memory
    tenant: str | None = None
    fork: str | None = None
    ancestors: tuple[Ancestor, ...] = ()
    may_write: bool = True
    """Not while a thread is verified."""

    def line(self, base: Place) -> Line:
        return Line(base, self.fork, self.ancestors)


async def thread_memory(app: App, record: ThreadRecord, journal: JournalPort, principal: Any) -> ThreadMemory | None:
    """The memory of a thread that is about to be driven; None where the app has none."""
    if app.services.memory is None:
        return None
    by_hand = await app.services.store.journal.interventions(record.thread)
    tenant, fork, ancestors = _origin(record.thread, record.parent, by_hand)
    given = getattr(principal, "tenant", None)
    # A process that takes the run over later has no more of its principal than an id.
    kept = await journal.record_value(record.thread, BOOKS, f"tenant:{record.run_id}", json.dumps(given or tenant))
    return ThreadMemory(app.services.memory, json.loads(kept), fork, ancestors)


def recorded_memory(memory: Memory | None, about: Mapping[str, Any], rows: Mapping[str, Any]) -> ThreadMemory | None:
    """The memory of a recorded thread: only to be read. ``rows``: see ``checkpointers.recordings``."""
    if memory is None:
        return None
    by_hand = [{"kind": row["kind"], "detail": json.loads(row["detail"])} for row in rows["interventions"]]
    tenant, fork, ancestors = _origin(about["thread"], None, by_hand)
    name = f"tenant:{about['run_id']}"
    for row in rows["values"]:
        if (row["visit"], row["name"]) == (BOOKS, name):
            tenant = json.loads(row["value"])
    return ThreadMemory(memory, tenant, fork, ancestors, may_write=False)


def _origin(
    thread: str, parent: str | None, by_hand: Sequence[Mapping[str, Any]]
) -> tuple[str | None, str | None, tuple[Ancestor, ...]]:
    """Tenant, fork and ancestors of a thread, as the fork was noted."""
    for item in by_hand:
        if item["kind"] == "fork" and "memory" in item["detail"]:
            noted = item["detail"]["memory"]
            return noted["tenant"], thread, tuple(Ancestor(name, int(step)) for name, step in noted["ancestors"])
    if parent is not None:  # forked by a release in which nodes had no memory: all that its parent says is later
        return None, thread, (Ancestor(parent, -1),)
    return None, None, ()


async def fork_detail(app: App, parent: ThreadRecord, step: int) -> dict[str, Any]:
    """What is noted of a fork for the memory: whose thread it was, and which of its supersteps the fork shares."""
    journal = app.services.store.journal
    tenant, _, ancestors = _origin(parent.thread, parent.parent, await journal.interventions(parent.thread))
    kept = await journal.values(parent.thread, BOOKS)
    tenant = json.loads(kept.get(f"tenant:{parent.run_id}", json.dumps(tenant)))
    return {"tenant": tenant, "ancestors": [[parent.thread, step], *([a.thread, a.step] for a in ancestors)]}


@dataclass(frozen=True)
class NodeMemory:
    """Implements ``ports.NodeMemory`` for one visit."""

    scope: Scope
    about: ThreadMemory
    visit: Visit
    model: Callable[[], str | None]

    def conversation(
        self, id: str, *, subject: str | None = None, tenant: str | None = None, branch: str = MAIN
    ) -> NodeConversation:
        """A handle on a conversation; reads and writes nothing."""
        whose = self.about.tenant
        if whose is not None and tenant is not None and tenant != whose:
            raise UsageError(
                f"Node {self.visit.node!r} asked for a conversation of another tenant than its run's.",
                remedy="leave tenant= out: it is the principal's.",
                node=self.visit.node,
            )
        with_whom = None if subject is None else name_of("subject", subject)
        return NodeConversation(self, place(id, tenant if whose is None else whose, branch), with_whom)


@dataclass(frozen=True)
class NodeConversation:
    """Implements ``ports.NodeConversation``."""

    of: NodeMemory
    base: Place
    subject: str | None
    _line: Line = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_line", self.of.about.line(self.base))

    @property
    def id(self) -> str:
        return self.base.id

    async def append(self, message: Any, *, tokens: int | None = None) -> None:
        """Append a message, once the superstep is durable."""
        chat, visit = read_message(message), self.of.visit
        await self._newest()  # a subject that differs is found now, while the node can still do something
        model = self.of.model() if chat.role == "assistant" else None
        where = Provenance(visit.thread, visit.run_id, visit.node, outer_step(visit.key), model)
        visit.post(Posting(Line(self.base), self.subject, chat, tokens_of(tokens), where).to_plain())

    def append_sync(self, message: Any, *, tokens: int | None = None) -> None:
        self._sync(self.append, message, tokens=tokens)

    async def messages(
        self, *, last: int | None = None, before: int | None = None, after: int | None = None
    ) -> list[Message]:
        """What was said when this visit first looked, and what it has appended itself, in this order."""
        own = self._own() if before is None else []
        own = own if last is None else own[len(own) - min(last, len(own)) :]
        upto = await self._upto()
        limit = upto + 1 if before is None else min(before, upto + 1)
        rest = None if last is None else last - len(own)
        return [*(await self._read(last=rest, before=limit, after=after) if upto else ()), *own]

    def messages_sync(self, **bounds: Any) -> list[Message]:
        found: list[Message] = self._sync(self.messages, **bounds)
        return found

    async def window(
        self, *, max_tokens: int, strategy: Strategy = "stable", counter: TokenCounter | None = None
    ) -> Window:
        """What fits into ``max_tokens``, as ``Conversation.window``; recorded, and the same when executed again."""
        return await windowing.window(self, max_tokens, strategy, counter)

    def window_sync(self, **options: Any) -> Window:
        made: Window = self._sync(self.window, **options)
        return made

    async def summarise(self, *, max_tokens: int, task: str = "summarise", counter: TokenCounter | None = None) -> bool:
        """Have what no longer fits into ``max_tokens`` summarised; whether there was any."""
        return await windowing.summarise(self, max_tokens, task, counter)

    def summarise_sync(self, **options: Any) -> bool:
        return bool(self._sync(self.summarise, **options))

    async def view(self) -> View:
        """What this visit sees of the line."""
        found = [posting.summary for posting in self._posted() if posting.summary is not None]
        mine = found[-1] if found else None
        return View(self._line.place, self.subject, await self._upto(), tuple(self._own()), mine)

    @property
    def label(self) -> str:
        """What the journal calls this line."""
        return sha256(json.dumps(self._line.to_plain()[:4]).encode()).hexdigest()[:24]

    async def record(self, name: str, value: str) -> str:
        """Keep a value with the visit, once; the first one that was kept."""
        return await self.of.scope.journal.record_value(self.of.visit.thread, self.of.visit.key, name, value)

    def _own(self) -> list[Message]:
        """What this visit has appended, as it will stand on this line."""
        return [posting.message for posting in self._posted() if posting.covers is None]

    def _posted(self) -> list[Posting]:
        found = (Posting.of_plain(item) for item in self.of.visit.posted())
        return [replace(posting, line=self._line) for posting in found if posting.line.base == self.base]

    async def _read(self, **bounds: Any) -> list[Message]:
        work = functools.partial(reading.messages, place=self._line.place, subject=self.subject, **bounds)
        return await self.transact(work)

    async def _upto(self) -> int:
        """The id of the newest message that this visit sees: recorded when it first looked."""
        visit, label = self.of.visit, self.label
        if label not in visit.seen:
            visit.seen[label] = int(await self.record(f"memory:{label}", str(await self._newest())))
        return visit.seen[label]

    async def _newest(self) -> int:
        """Look whether it is the right conversation, and begin the line of a fork. Raises ``SubjectMismatch``."""
        return await self.transact(self._look)

    def _look(self, tx: Tx) -> int:
        if not reading.exists(tx, self.base, self.subject):
            return 0
        if self.of.about.may_write:
            self.base.lock(tx)
            lineage.begin(tx, self._line, self.subject)
        return reading.newest_id(tx, self.base)

    async def transact(self, work: Callable[[Tx], T]) -> T:
        """In the memory's database."""
        return await self.of.about.memory.database.run(work)

    def _sync(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self.of.visit.on_this_strand():
            return portal.calls.call(functools.partial(method, *args, **options))
