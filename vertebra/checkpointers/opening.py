"""Opening a store: state, journal and run records of one database, or of a saver and a database."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.fencing import Proof
from vertebra.checkpointers.forks import Forks
from vertebra.checkpointers.journal import Journal
from vertebra.checkpointers.migrations import KEYS, is_empty, migrate
from vertebra.checkpointers.pruning import Progress, Pruner
from vertebra.checkpointers.recordings import Recordings
from vertebra.checkpointers.retention import Retention
from vertebra.checkpointers.runs import RunStore
from vertebra.checkpointers.tallies import Tallies
from vertebra.checkpointers.versions import VersionStore
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.keys import Encryption, KeyProvider, provider_of
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl
from vertebra.databases.vault import open_seals, require_plain, rewrap
from vertebra.errors import UsageError
from vertebra.types import Pruned

if TYPE_CHECKING:
    from vertebra.checkpointers.ordering import OrderedSaver


class Store:
    """An open store. A context manager, sync and async; ``close()`` may be called twice.

    ``saver`` loads LangGraph and is made when first asked for: listing threads does not need it.
    """

    def __init__(self, url: StoreUrl, *, saver: Any = None, encryption: Encryption | None = None) -> None:
        self.url = url.absolute()
        self._given_saver = saver
        self._types: set[type[Any]] = set()
        self._saver: OrderedSaver | None = None
        self._close_saver: Any = None
        self._closed = False
        self._provider: KeyProvider | None = None
        self._lock = threading.Lock()
        self.database = open_database(self.url)
        try:
            migrate(self.database)
            if encryption is None:
                require_plain(self.database, KEYS)
            else:
                self._provider = provider_of(encryption)
                self.database.seals = open_seals(self.database, self.url, KEYS, self._provider, is_empty)
        except BaseException:
            self.database.close()
            raise
        self.journal = Journal(self.database)
        self.runs = RunStore(self.database)
        self.forks = Forks(self.database)
        self.recordings = Recordings(self.database)
        self.versions = VersionStore(self.database)
        self.tallies = Tallies(self.database)

    def allow(self, types: Iterable[type[Any]]) -> None:
        """Let these types come back to life from checkpoints, beside those allowed before."""
        with self._lock:
            self._types |= (new := set(types))
            if self._saver is not None and self._given_saver is None:
                self._saver.with_allowlist({(kind.__module__, kind.__name__) for kind in new})

    def rekey(self) -> int:
        """Wrap the store's own keys under the current key alone: the older ones given may be thrown away then.

        Returns how many there were to wrap. Rows stay as they are. Raises ``UsageError`` if the store is not encrypted.
        """
        if self._provider is None:
            raise UsageError("The store is not encrypted.", remedy="open it with encryption=[new key, old key].")
        return rewrap(self.database, KEYS, self._provider)

    @property
    def encrypted(self) -> bool:
        """Whether content is sealed."""
        return self.database.seals.on

    @property
    def saver(self) -> OrderedSaver:
        """The checkpointer to hand to LangGraph, for ``invoke`` and ``ainvoke`` alike."""
        with self._lock:
            if self._saver is None:
                self._saver = self._open_saver()
            return self._saver

    def _open_saver(self) -> OrderedSaver:
        from vertebra.checkpointers.ordering import OrderedSaver
        from vertebra.checkpointers.savers import open_saver, serializer

        if self._closed:
            raise closed(f"store {self.url}")
        if self._given_saver is not None:
            return OrderedSaver(self._given_saver, fence=Proof(self.database))
        errors = functools.partial(driver_errors, self.url)
        with errors():
            inner, self._close_saver = open_saver(self.url, serializer(self._types), self.database.seals)
        return OrderedSaver(inner, errors=errors, fence=Proof(self.database) if self.url.backend == "memory" else None)

    async def prune(
        self,
        *,
        statuses: Collection[str] | None = None,
        older_than_s: float | None = None,
        keep: int | None = None,
        answers: bool = False,
        graph: str | None = None,
        dry_run: bool = False,
        on_progress: Progress | None = None,
    ) -> Pruned:
        """Let go of ended threads, whole; or with ``keep`` of all but their last n checkpoints, with ``answers`` of
        what their calls asked and were answered.

        Of threads that stand as ``statuses`` say (``done``, ``failed``, ``cancelled``; by default ``done`` and
        ``cancelled``, and where only history goes also ``failed``), that nothing has happened to for ``older_than_s``
        seconds, and of ``graph``. Threads that run or wait, are held, or are needed by a fork stay. Each thread goes
        in one transaction, and the database gives its room back at the end. May be called again whenever it was
        broken off. ``dry_run`` changes nothing. ``on_progress``: called with ``threads`` or ``bytes``, how many are
        done, and of how many.
        Raises ``UsageError``, ``StoreError``.
        """
        policy = Retention.of(statuses, older_than_s, keep, answers, graph, dry_run)
        together = self._given_saver is None and self.url.backend != "memory"
        pruner = Pruner(self.database, self.saver, policy, url=self.url, together=together)
        return await pruner.run(on_progress or (lambda *_: None))

    def prune_sync(self, **options: Any) -> Pruned:
        """``prune`` for sync code."""
        with ThreadPoolExecutor(1, "vertebra-prune") as thread:  # the caller's own may have a loop that runs
            return thread.submit(lambda: asyncio.run(self.prune(**options))).result()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._saver is not None:
            self._saver.close()
        if self._close_saver is not None:
            self._close_saver()
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_checkpointer(url: str | Any, *, journal: str | None = None, encryption: Encryption | None = None) -> Store:
    """Open ``memory://``, ``sqlite:///file`` or ``postgresql://...``.

    A LangGraph saver object is taken too: then ``journal`` is the URL of the database for the
    journal and the run records (by default they are kept in memory and die with the process).
    ``encryption``: a key of 32 bytes in base64, several of which the first seals and all open, or a ``KeyProvider``:
    then all content of state and journal is sealed. Of a saver object, whose serializer must encrypt, the journal is.
    Raises ``StoreUrlInvalid``, ``StoreUnavailable``, ``StoreCorrupt``, ``StoreTooNew``, ``EncryptionError``,
    ``MissingExtra``, and ``UsageError`` for anything else.

    Example::

        with open_checkpointer("sqlite:///visits.db?durability=process") as store:
            app = graph.compile(checkpointer=store)
    """
    if isinstance(url, Store):
        if encryption is not None and not url.encrypted:
            raise UsageError("The store is open, and not encrypted.", remedy="give the key where it is opened.")
        return url
    if isinstance(url, str):
        return Store(StoreUrl.parse(url), encryption=encryption)
    if not hasattr(url, "get_tuple"):
        raise UsageError(
            f"{type(url).__name__} is no place to keep state.",
            remedy="pass a URL (memory://, sqlite:///file.db, postgresql://...), an open store or a LangGraph saver.",
        )
    if encryption is not None and not hasattr(getattr(url, "serde", None), "cipher"):
        raise UsageError(
            f"{type(url).__name__} would write the state as it is.",
            remedy="pass a URL to have state and journal encrypted, or give the saver an EncryptedSerializer.",
        )
    return Store(StoreUrl.parse(journal or "memory://"), saver=url, encryption=encryption)
