"""The saver that a URL names, opened with a serializer that revives only allowed types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import MissingExtra

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol


def serializer(types: Iterable[type[Any]] = ()) -> SerializerProtocol:
    """MessagePack without pickle; only ``types`` (and plain data) come back as objects."""
    from vertebra.checkpointers.reviving import Serializer

    allowed = sorted({(kind.__module__, kind.__name__) for kind in types})
    return Serializer(pickle_fallback=False, allowed_msgpack_modules=allowed or None)


def open_saver(
    url: StoreUrl, serde: SerializerProtocol, seals: Seals = NO_SEALS
) -> tuple[BaseCheckpointSaver[Any], Callable[[], None]]:
    """The saver for a URL, its tables made, and the function that closes it."""
    if url.backend != "postgresql":
        from vertebra.checkpointers.sqlite import SqliteCheckpointer

        # In memory each connection has a database of its own: the run records are in another.
        sqlite = SqliteCheckpointer(url, serde=serde, fenced=url.backend == "sqlite", seals=seals)
        return sqlite, sqlite.close
    try:
        import langgraph.checkpoint.postgres  # noqa: F401

        from vertebra.checkpointers.postgres import PostgresCheckpointer
    except ImportError as error:
        raise MissingExtra(
            "State in PostgreSQL needs langgraph-checkpoint-postgres.",
            remedy="pip install 'vertebra[postgres]'",
            extra="postgres",
        ) from error
    postgres = PostgresCheckpointer(url, serde=serde, fenced=True, seals=seals)
    return postgres, postgres.close
