"""Opening a memory by its URL: the conversations of each tenant, listed, carried out and carried in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from vertebra.databases.database import Database, Tx
from vertebra.databases.keys import Encryption, KeyProvider, provider_of
from vertebra.databases.opening import open_database
from vertebra.databases.sealing import Seals
from vertebra.databases.url import StoreUrl
from vertebra.databases.vault import open_seals, require_plain, rewrap
from vertebra.errors import StoreNotEncrypted, UsageError
from vertebra.memory import carrying, reading
from vertebra.memory.carrying import Export, Imported
from vertebra.memory.conversation import Conversation
from vertebra.memory.facts import Facts
from vertebra.memory.keeping import Keeping
from vertebra.memory.known_lines import Batch, kind_of
from vertebra.memory.lines import Carried, read_lines
from vertebra.memory.migrations import KEYS, is_empty, migrate
from vertebra.memory.place import name_of, place, tenant_of, whom
from vertebra.memory.recall.embedders import Embedder
from vertebra.memory.recall.face import Recalling
from vertebra.memory.recall.searching import Searcher
from vertebra.memory.records import MAIN, ConversationRecord

if TYPE_CHECKING:
    from langgraph.store.base import IndexConfig, TTLConfig

    from vertebra.memory.langgraph_store import LangGraphStore


class Memory(Keeping, Recalling):
    """An open memory. A context manager, sync and async; ``close()`` may be called twice.

    ``tenant`` bounds every method: nothing of another tenant is seen or touched. None is a tenant of its own.
    """

    def __init__(self, url: StoreUrl, embedder: Embedder | None = None, encryption: Encryption | None = None) -> None:
        self.url = url.absolute()
        self._database = open_database(self.url, forgetting=True)
        self.embedder, self._searcher = embedder, Searcher(embedder)
        self._closed = False
        self._provider: KeyProvider | None = None
        try:
            migrate(self._database)
            if encryption is None:
                require_plain(self._database, KEYS)
            else:
                self._provider = provider_of(encryption)
                self._database.seals = self._open_seals(self._provider)
        except BaseException:
            self._database.close()
            raise

    def _open_seals(self, provider: KeyProvider) -> Seals:
        try:
            return open_seals(self._database, self.url, KEYS, provider, is_empty)
        except StoreNotEncrypted:
            raise StoreNotEncrypted(
                f"A key was given, and the memory in {self.url} holds content that is not encrypted.",
                remedy="export it and import it into a new database that is opened with the key; or open it without.",
            ) from None

    @property
    def encrypted(self) -> bool:
        """Whether content is sealed."""
        return self._database.seals.on

    def rekey(self) -> int:
        """Wrap the memory's own keys under the current key alone: the older ones given may be thrown away then.

        Returns how many there were to wrap. Rows stay as they are. Raises ``UsageError`` if it is not encrypted.
        """
        if self._provider is None:
            raise UsageError("The memory is not encrypted.", remedy="open it with encryption=[new key, old key].")
        return rewrap(self._database, KEYS, self._provider)

    @property
    def database(self) -> Database:
        """What the runtime delivers into and reads from."""
        return self._database

    def conversation(
        self, id: str, *, subject: str | None = None, tenant: str | None = None, branch: str = MAIN
    ) -> Conversation:
        """A handle on a conversation, be it there yet or not; reads and writes nothing.

        ``subject``: the person or case that it is with. Raises ``UsageError`` for what cannot be a name.
        """
        with_whom = None if subject is None else name_of("subject", subject)
        return Conversation(self._database, place(id, tenant, branch), with_whom)

    def facts(self, subject: str, *, tenant: str | None = None) -> Facts:
        """A handle on what is known of a subject; reads and writes nothing.

        Raises ``UsageError`` for what cannot be a name.
        """
        return Facts(self._database, whom(subject, tenant))

    def store(
        self, *, tenant: str | None = None, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> LangGraphStore:
        """LangGraph's ``BaseStore`` over the items of a tenant, sync and async, for ``compile(store=...)``.

        ``index``: as LangGraph's own stores take it: what embeds texts, and which fields; None: a query ranks nothing.
        ``ttl``: ``default_ttl`` in minutes, ``refresh_on_read``. The memory must stay open as long as it is used.
        """
        from vertebra.memory.langgraph_store import LangGraphStore  # LangGraph takes a second to import

        return LangGraphStore(self._database, tenant_of(tenant), index, ttl)

    async def conversations(
        self,
        *,
        tenant: str | None = None,
        subject: str | None = None,
        tags: Iterable[str] = (),
        limit: int | None = None,
    ) -> list[ConversationRecord]:
        """The conversations of a tenant, latest first: those with this subject and all of these tags."""
        return await self._database.run(_listing(tenant, subject, tags, limit))

    def conversations_sync(
        self,
        *,
        tenant: str | None = None,
        subject: str | None = None,
        tags: Iterable[str] = (),
        limit: int | None = None,
    ) -> list[ConversationRecord]:
        """``conversations`` for sync code."""
        return self._database.run_sync(_listing(tenant, subject, tags, limit))

    async def export_lines(
        self, *, tenant: str | None = None, subject: str | None = None, conversation: str | None = None
    ) -> AsyncIterator[str]:
        """JSON Lines, without line ends, of all that a tenant has, of a subject, or of one conversation alone.

        Each conversation as it stands when it is reached. Raises ``ConversationNotFound`` for one that is not there.
        """
        export = Export(tenant_of(tenant), subject, conversation)
        while (lines := await self._database.run(export.more)) is not None:
            for line in lines:
                yield line

    def export_lines_sync(
        self, *, tenant: str | None = None, subject: str | None = None, conversation: str | None = None
    ) -> Iterator[str]:
        """``export_lines`` for sync code."""
        export = Export(tenant_of(tenant), subject, conversation)
        while (lines := self._database.run_sync(export.more)) is not None:
            yield from lines

    async def import_lines(self, lines: Iterable[str], *, tenant: str | None = None) -> Imported:
        """Write what ``export_lines`` gave, for this tenant, whoever's it was: each conversation whole or not at all.

        What is there already stays, so that an import may be repeated. Raises ``ExportInvalid`` and
        ``ConversationExists``; the conversations before are written then.
        """
        counts = _Counts()
        for carried in read_lines(lines):
            counts.add(carried, await self._database.run(_putting(tenant, carried)))
        return counts.imported

    def import_lines_sync(self, lines: Iterable[str], *, tenant: str | None = None) -> Imported:
        """``import_lines`` for sync code."""
        counts = _Counts()
        for carried in read_lines(lines):
            counts.add(carried, self._database.run_sync(_putting(tenant, carried)))
        return counts.imported

    def close(self) -> None:
        """Close the database; ``with`` and ``async with`` do it."""
        if not self._closed:
            self._closed = True
            self._database.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Memory:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Counts:
    def __init__(self) -> None:
        self.imported = Imported(0, 0, 0)

    def add(self, carried: Carried | Batch, new: int) -> None:
        so_far = self.imported
        if isinstance(carried, Batch):
            kind = f"{kind_of(carried.items[0])}s"
            self.imported = replace(so_far, **{kind: getattr(so_far, kind) + new})
        elif new:
            messages = so_far.messages + len(carried.messages)
            self.imported = replace(so_far, conversations=so_far.conversations + 1, messages=messages)
        else:
            self.imported = replace(so_far, unchanged=so_far.unchanged + 1)


def _listing(
    tenant: str | None, subject: str | None, tags: Iterable[str], limit: int | None
) -> Callable[[Tx], list[ConversationRecord]]:
    if isinstance(tags, str):
        raise UsageError(f"tags={tags!r} is one text.", remedy=f"pass tags=[{tags!r}].")
    if limit is not None and limit < 0:
        raise UsageError(f"limit={limit} is no number of conversations.", remedy="pass 0 or more, or None for all.")
    scope, wanted = tenant_of(tenant), tuple(tags)
    return lambda tx: reading.conversations(tx, scope, subject=subject, tags=wanted, limit=limit)


def _putting(tenant: str | None, carried: Carried | Batch) -> Callable[[Tx], int]:
    scope = tenant_of(tenant)
    if isinstance(carried, Batch):
        return lambda tx: carrying.put_known(tx, scope, carried)
    return lambda tx: carrying.put(tx, scope, carried)


def open_memory(url: str, *, embedder: Embedder | None = None, encryption: Encryption | None = None) -> Memory:
    """Open ``memory://``, ``sqlite:///file`` or ``postgresql://...``; its tables are made when they are not there.

    ``embedder``: what makes vectors for ``search`` and ``embed_pending``; appends never call it.
    ``encryption``: a key of 32 bytes in base64, several of which the first seals and all open, or a ``KeyProvider``:
    then all content is sealed, from the first row on. May share a database with the state of threads; its keys are its
    own. Raises ``StoreUrlInvalid``, ``StoreUnavailable``, ``StoreCorrupt``, ``StoreTooNew``, ``EncryptionError`` and
    ``MissingExtra``.

    Example::

        with open_memory("sqlite:///memory.db") as memory:
            conversation = memory.conversation("visit-42", subject="patient-7")
            conversation.append_sync({"role": "user", "content": "He coughs at night."})
    """
    return Memory(StoreUrl.parse(url), embedder, encryption)
