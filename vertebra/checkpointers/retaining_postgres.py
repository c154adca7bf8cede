"""LangGraph's PostgresSaver with what it lacks: keeping the last n, threads of delta channels, runs, and copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.types import TASKS
from psycopg.rows import tuple_row

from vertebra.checkpointers.together import Together
from vertebra.databases.database import PostgresTx
from vertebra.errors import UsageError

T = TypeVar("T")

_COPIES = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "checkpoint_blobs": "checkpoint_ns, channel, version, type, blob",
    "checkpoint_writes": "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob",
}
_SWEEP = """
DELETE FROM checkpoint_blobs b WHERE b.thread_id = %s AND NOT EXISTS (
    SELECT 1 FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
    AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
)
"""


class RetainingPostgresSaver(PostgresSaver):
    """On a pool of connections, as ``open_pool`` makes it with rows as dicts."""

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """Delete what is older than the last ``keep`` checkpoints of each namespace, or ``strategy="delete"`` all.

        What delta channels of those that stay start from stays too. Raises ``UsageError``.
        """
        threads = [str(thread) for thread in thread_ids]
        if strategy == "delete":
            for thread in threads:
                self.delete_thread(thread)
        elif strategy == "keep_latest" and keep > 0:
            for thread in threads:
                self._prune(thread, keep)
        else:
            raise UsageError(
                f"Prune with strategy={strategy!r}, keep={keep} is not known.",
                remedy='use strategy="keep_latest" with keep=1 or more, or strategy="delete".',
            )

    def together(self, thread_id: str, work: Together[T]) -> T:
        """``work`` in one transaction with run records in the same database."""
        thread = str(thread_id)
        with self._transaction() as connection:

            def drop(keep: int, dry_run: bool) -> int:
                places = self._places_before(thread, keep)
                if not dry_run and keep:
                    _drop(connection, thread, places)
                elif not dry_run:
                    for table in _COPIES:
                        connection.execute(f"DELETE FROM {table} WHERE thread_id = %s", (thread,))
                return len(places)

            return work(PostgresTx(connection.cursor(row_factory=tuple_row)), drop)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE metadata ->> 'run_id' = ANY(%s)",
                (list(run_ids),),
            ).fetchall()
            for thread in {row["thread_id"] for row in rows}:
                dropped = [(r["checkpoint_ns"], r["checkpoint_id"]) for r in rows if r["thread_id"] == thread]
                _drop(connection, thread, dropped)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Raises ``UsageError`` when there is a thread of the target's name."""
        source, target = str(source_thread_id), str(target_thread_id)
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM checkpoints WHERE thread_id = %s LIMIT 1", (target,)).fetchone():
                raise UsageError(f"There is a thread {target!r}.", remedy="copy to a thread that does not exist yet.")
            for table, columns in _COPIES.items():
                connection.execute(
                    f"INSERT INTO {table} (thread_id, {columns}) "
                    f"SELECT %s, {columns} FROM {table} WHERE thread_id = %s",
                    (target, source),
                )

    def _prune(self, thread: str, keep: int) -> None:
        places = self._places_before(thread, keep)
        with self._transaction() as connection:
            _drop(connection, thread, places)

    def _places_before(self, thread: str, keep: int) -> list[tuple[str, str]]:
        """Namespace and id of the checkpoints that go when the last ``keep`` of each namespace stay."""
        ids: dict[str, list[str]] = {}
        with self._transaction() as connection:
            for row in connection.execute(
                "SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id DESC",
                (thread,),
            ).fetchall():
                ids.setdefault(row["checkpoint_ns"], []).append(row["checkpoint_id"])
        kept = {(namespace, id) for namespace, all_ids in ids.items() for id in all_ids[:keep]}
        for namespace, id in tuple(kept):
            kept |= self._needed(thread, namespace, id)
        return [(namespace, id) for namespace, all_ids in ids.items() for id in all_ids if (namespace, id) not in kept]

    def _needed(self, thread: str, namespace: str, id: str) -> set[tuple[str, str]]:
        """The ancestors that make the values of delta channels, and the parent of a checkpoint from before v4."""
        needed: set[tuple[str, str]] = set()
        missing: set[str] | None = None
        config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": id}}
        while config is not None and (found := self.get_tuple(config)) is not None:
            if missing is None:
                missing = set(found.metadata.get("counters_since_delta_snapshot") or ())
                parent_sends = found.checkpoint["v"] < 4
            else:
                sends = parent_sends and any(channel == TASKS for _, channel, _ in found.pending_writes or ())
                if missing or sends:
                    needed.add((namespace, found.checkpoint["id"]))
                parent_sends = False
            missing -= found.checkpoint["channel_values"].keys()
            if not missing and not parent_sends:
                break
            config = found.parent_config
        return needed

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A connection of the pool, in a transaction."""
        pool: Any = self.conn
        with pool.connection() as connection, connection.transaction():
            yield connection


def _drop(connection: Any, thread: str, places: Sequence[tuple[str, str]]) -> None:
    if not places:
        return
    namespaces, ids = [namespace for namespace, _ in places], [id for _, id in places]
    for table in ("checkpoints", "checkpoint_writes"):
        connection.execute(
            f"DELETE FROM {table} WHERE thread_id = %s AND (checkpoint_ns, checkpoint_id) IN "
            "(SELECT * FROM unnest(%s::text[], %s::text[]))",
            (thread, namespaces, ids),
        )
    connection.execute(_SWEEP, (thread,))
