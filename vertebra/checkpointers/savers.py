"""The saver that a URL names, opened with a serializer that revives only allowed types."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vertebra.databases.database import open_pool
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol


def serializer(types: Iterable[type[Any]] = ()) -> SerializerProtocol:
    """MessagePack without pickle; only ``types`` (and plain data) come back as objects."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    allowed = sorted({(kind.__module__, kind.__name__) for kind in types})
    return JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=allowed or None)


def open_saver(
    url: StoreUrl, serde: SerializerProtocol, seals: Seals = NO_SEALS
) -> tuple[BaseCheckpointSaver[Any], Callable[[], None]]:
    """The saver for a URL, its tables made, and the function that closes it."""
    if url.backend != "postgresql":
        from vertebra.checkpointers.sqlite import SqliteCheckpointer

        # In memory each connection has a database of its own: the run records are in another.
        sqlite = SqliteCheckpointer(url, serde=serde, fenced=url.backend == "sqlite", seals=seals)
        return sqlite, sqlite.close
    if seals.on:
        raise UsageError("State in PostgreSQL is not encrypted yet.", remedy="use sqlite:///file.db.")
    try:
        import langgraph.checkpoint.postgres  # noqa: F401

        from vertebra.checkpointers.fenced_postgres import FencedPostgresSaver
    except ImportError as error:
        raise MissingExtra(
            "State in PostgreSQL needs langgraph-checkpoint-postgres.",
            remedy="pip install 'vertebra[postgres]'",
            extra="postgres",
        ) from error
    from psycopg.rows import dict_row

    pool = open_pool(url, row_factory=dict_row, prepare_threshold=0)
    postgres = FencedPostgresSaver(pool, serde=serde)
    try:
        _setup_postgres(pool, postgres)
    except BaseException:
        pool.close()
        raise
    return postgres, pool.close


def _setup_postgres(pool: Any, saver: Any) -> None:
    """Several processes may start on an empty database: one at a time runs the saver's migrations.

    Asking again and again, not waiting for the lock: they make indexes CONCURRENTLY, which waits until no
    other session is in a statement, and a session that waits for a lock is.
    """
    name = "hashtextextended('vertebra saver setup', 8461)"
    with pool.connection() as connection:
        while not connection.execute(f"SELECT pg_try_advisory_lock({name}) AS mine").fetchone()["mine"]:
            time.sleep(random.uniform(0.02, 0.1))
        try:
            saver.setup()
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({name})")
