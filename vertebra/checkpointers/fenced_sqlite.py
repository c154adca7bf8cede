"""LangGraph's SQLite saver, its transactions fenced by the lease and whole: all of a write, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from langgraph.checkpoint.sqlite import SqliteSaver

from vertebra.checkpointers.fencing import HELD, current_lease, held_arguments, lost


class FencedSqliteSaver(SqliteSaver):
    """Beside the run records in one file. Raises ``LeaseLost`` for a write under a lease that is lost."""

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """As the base's, which commits in the end, whatever happened within."""
        with super().cursor(transaction) as cursor:
            if not transaction:
                yield cursor
                return
            try:
                # Now, not at the first change: between the look at the lease and that, another might take it.
                cursor.execute("BEGIN IMMEDIATE")
                lease = current_lease.get()
                if lease is not None and cursor.execute(HELD, held_arguments(lease)).fetchone() is None:
                    raise lost(lease)
                yield cursor
            except BaseException:
                self.conn.rollback()
                raise
