"""Connections to a database of threads, and its tables, which one process at a time makes."""

from __future__ import annotations

import random
import time
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg.rows import dict_row

from vertebra.checkpointers.postgres import tables
from vertebra.checkpointers.postgres.access import Access
from vertebra.checkpointers.postgres.arrays import adapters
from vertebra.checkpointers.postgres.state import PostgresState
from vertebra.databases.failures import driver_errors
from vertebra.databases.postgres import open_pool
from vertebra.databases.sealing import Seals
from vertebra.databases.url import StoreUrl


def open_state(
    url: StoreUrl, serde: SerializerProtocol, *, trust_identity: bool, fenced: bool, seals: Seals
) -> PostgresState:
    """Raises ``StoreUrlInvalid``, ``StoreUnavailable``, ``StoreTooNew``."""
    pool = open_pool(url, quietly=True, row_factory=dict_row, prepare_threshold=0, context=adapters())
    try:
        with driver_errors(url):
            _make_tables(pool)
        access = Access(url, pool, serde, fenced=fenced, seals=seals)
        return PostgresState(access, trust_identity=trust_identity)
    except BaseException:
        pool.close()
        raise


def _make_tables(pool: Any) -> None:
    """Asking again and again, not waiting for the lock: LangGraph's migrations make indexes CONCURRENTLY, which waits
    until no other session is in a statement, and a session that waits for a lock is.
    """
    name = "hashtextextended('vertebra saver setup', 8461)"
    with pool.connection() as connection:
        while not connection.execute(f"SELECT pg_try_advisory_lock({name}) AS mine").fetchone()["mine"]:
            time.sleep(random.uniform(0.02, 0.1))
        try:
            PostgresSaver(connection).setup()
            tables.create(connection)
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({name})")
