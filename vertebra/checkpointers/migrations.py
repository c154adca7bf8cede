"""The tables of journal and run records, as forward migrations (``databases.migrating``)."""

from __future__ import annotations

from vertebra.databases import migrating
from vertebra.databases.database import Database, Tx
from vertebra.databases.vault import key_table

KEYS = "vertebra_keys"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE vertebra_threads (
            thread TEXT PRIMARY KEY,
            graph TEXT NOT NULL,
            version TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            shape TEXT NOT NULL,
            run_id TEXT NOT NULL,
            status TEXT NOT NULL,
            branch TEXT NOT NULL DEFAULT '',
            principal TEXT,
            input BLOB,
            error TEXT,
            story TEXT NOT NULL DEFAULT '[]',
            recoveries BIGINT NOT NULL DEFAULT 0,
            progress TEXT,
            cancel_requested BIGINT NOT NULL DEFAULT 0,
            lease_holder TEXT,
            lease_epoch BIGINT NOT NULL DEFAULT 0,
            lease_until DOUBLE PRECISION,
            created_at DOUBLE PRECISION NOT NULL,
            updated_at DOUBLE PRECISION NOT NULL
        )
        """,
        "CREATE INDEX vertebra_threads_by_status ON vertebra_threads (status, updated_at)",
        """
        CREATE TABLE vertebra_calls (
            thread TEXT NOT NULL,
            visit TEXT NOT NULL,
            request_hash TEXT NOT NULL,
            epoch BIGINT NOT NULL,
            ordinal BIGINT NOT NULL,
            run_id TEXT NOT NULL,
            node TEXT NOT NULL,
            step BIGINT NOT NULL,
            kind TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            model TEXT,
            status TEXT NOT NULL,
            request TEXT,
            sequence BIGINT,
            answer_status BIGINT,
            answer_headers TEXT,
            answer_body BLOB,
            input_tokens BIGINT,
            output_tokens BIGINT,
            started_at DOUBLE PRECISION NOT NULL,
            finished_at DOUBLE PRECISION,
            sends BIGINT NOT NULL DEFAULT 1,
            lost BIGINT NOT NULL DEFAULT 0,
            replays BIGINT NOT NULL DEFAULT 0,
            attempts TEXT NOT NULL DEFAULT '[]',
            PRIMARY KEY (thread, visit, request_hash, epoch, ordinal)
        )
        """,
        """
        CREATE TABLE vertebra_epochs (
            thread TEXT NOT NULL,
            visit TEXT NOT NULL,
            epoch BIGINT NOT NULL,
            kept TEXT,
            reason TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (thread, visit, epoch)
        )
        """,
        """
        CREATE TABLE vertebra_values (
            thread TEXT NOT NULL,
            visit TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (thread, visit, name)
        )
        """,
        """
        CREATE TABLE vertebra_visits (
            thread TEXT NOT NULL,
            visit TEXT NOT NULL,
            node TEXT NOT NULL,
            step BIGINT NOT NULL,
            run_id TEXT NOT NULL,
            outcome TEXT NOT NULL,
            executions BIGINT NOT NULL,
            started_at DOUBLE PRECISION NOT NULL,
            finished_at DOUBLE PRECISION NOT NULL,
            error TEXT,
            PRIMARY KEY (thread, visit)
        )
        """,
        """
        CREATE TABLE vertebra_answers (
            thread TEXT NOT NULL,
            interrupt_id TEXT NOT NULL,
            answer TEXT NOT NULL,
            principal TEXT,
            at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (thread, interrupt_id)
        )
        """,
        """
        CREATE TABLE vertebra_timers (
            thread TEXT NOT NULL,
            name TEXT NOT NULL,
            due_at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (thread, name)
        )
        """,
        "CREATE INDEX vertebra_timers_by_due ON vertebra_timers (due_at)",
        """
        CREATE TABLE vertebra_interventions (
            thread TEXT NOT NULL,
            number BIGINT NOT NULL,
            kind TEXT NOT NULL,
            node TEXT NOT NULL,
            principal TEXT,
            detail TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (thread, number)
        )
        """,
    ),
    (
        # A fork is a thread with a parent (decision 0006); an inherited call names the thread that made it.
        "ALTER TABLE vertebra_threads ADD COLUMN parent TEXT",
        "ALTER TABLE vertebra_threads ADD COLUMN parent_checkpoint TEXT",
        "ALTER TABLE vertebra_threads ADD COLUMN seed TEXT",
        "ALTER TABLE vertebra_calls ADD COLUMN origin TEXT",
        "CREATE INDEX vertebra_threads_by_parent ON vertebra_threads (parent)",
    ),
    (key_table(KEYS),),
)

VERSIONS = "vertebra_schema"
"""Where their version is noted: a database has the tables if it has this one."""

_WITH_CONTENT = ("vertebra_threads", "vertebra_state_checkpoints", "checkpoints")
"""Of run records, of state, and of LangGraph's own savers."""

THREAD_TABLES = ("calls", "epochs", "values", "visits", "answers", "timers", "interventions", "threads")


def migrate(database: Database) -> int:
    """Bring the tables to this release's version: see ``databases.migrating``."""
    return migrating.migrate(database, MIGRATIONS, table=VERSIONS)


def is_empty(tx: Tx, backend: str) -> bool:
    """Whether the database has no content of any thread."""
    return not any(
        migrating.has_table(tx, table, backend) and tx.one(f"SELECT 1 FROM {table} LIMIT 1") for table in _WITH_CONTENT
    )
