"""Opening a store: state, journal and run records of one database, or of a saver and a database."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.database import open_database
from vertebra.checkpointers.journal import Journal
from vertebra.checkpointers.migrations import migrate
from vertebra.checkpointers.runs import RunStore
from vertebra.checkpointers.url import StoreUrl

if TYPE_CHECKING:
    from vertebra.checkpointers.ordering import OrderedSaver


class Store:
    """An open store. A context manager, sync and async; ``close()`` may be called twice.

    ``saver`` loads LangGraph and is made when first asked for: listing threads does not need it.
    """

    def __init__(self, url: StoreUrl, *, saver: Any = None, types: Iterable[type[Any]] = ()) -> None:
        self.url = url
        self._given_saver = saver
        self._types = set(types)
        self._saver: OrderedSaver | None = None
        self._close_saver: Any = None
        self._closed = False
        self._database = open_database(url)
        try:
            migrate(self._database)
        except BaseException:
            self._database.close()
            raise
        self.journal = Journal(self._database)
        self.runs = RunStore(self._database)

    def allow(self, types: Iterable[type[Any]]) -> None:
        """Let these types come back to life from checkpoints. Before the saver is first used."""
        self._types |= set(types)

    @property
    def saver(self) -> OrderedSaver:
        """The checkpointer to hand to LangGraph."""
        if self._saver is None:
            from vertebra.checkpointers.ordering import OrderedSaver
            from vertebra.checkpointers.savers import open_saver, serializer

            if self._given_saver is not None:
                self._saver = OrderedSaver(self._given_saver, threads=True)
            else:
                inner, self._close_saver = open_saver(self.url, serializer(self._types))
                self._saver = OrderedSaver(inner, threads=self.url.backend != "memory")
        return self._saver

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._saver is not None:
            self._saver.close()
        if self._close_saver is not None:
            self._close_saver()
        self._database.close()

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


def open_checkpointer(url: str | Any, *, journal: str | None = None) -> Store:
    """Open ``memory://``, ``sqlite:///file`` or ``postgresql://...``.

    A LangGraph saver object is taken too: then ``journal`` is the URL of the database for the
    journal and the run records (by default they are kept in memory and die with the process).
    Raises ``StoreUrlInvalid``, ``StoreUnavailable``, ``StoreCorrupt``, ``StoreTooNew``, ``MissingExtra``.

    Example::

        with open_checkpointer("sqlite:///visits.db?durability=process") as store:
            app = graph.compile(checkpointer=store)
    """
    if isinstance(url, Store):
        return url
    if isinstance(url, str):
        return Store(StoreUrl.parse(url))
    return Store(StoreUrl.parse(journal or "memory://"), saver=url)
