"""The tables of memory, as forward migrations (``databases.migrating``)."""

from __future__ import annotations

from vertebra.databases import migrating
from vertebra.databases.database import Database, Tx
from vertebra.databases.vault import key_table
from vertebra.memory.recall.tables import RECALL, REMOVALS, SEALED_VECTORS, SUMMARIES

KEYS = "vertebra_memory_keys"
"""A memory has keys of its own, whatever else is in its database."""

MIGRATIONS: migrating.Migrations = (
    (
        """
        CREATE TABLE vertebra_memory_conversations (
            tenant TEXT NOT NULL,
            id TEXT NOT NULL,
            subject TEXT,
            title TEXT,
            messages BIGINT NOT NULL DEFAULT 0,
            created_at DOUBLE PRECISION NOT NULL,
            updated_at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (tenant, id)
        )
        """,
        "CREATE INDEX vertebra_memory_by_time ON vertebra_memory_conversations (tenant, updated_at)",
        "CREATE INDEX vertebra_memory_by_subject ON vertebra_memory_conversations (tenant, subject)",
        """
        CREATE TABLE vertebra_memory_tags (
            tenant TEXT NOT NULL,
            conversation TEXT NOT NULL,
            tag TEXT NOT NULL,
            PRIMARY KEY (tenant, conversation, tag)
        )
        """,
        "CREATE INDEX vertebra_memory_by_tag ON vertebra_memory_tags (tenant, tag)",
        """
        CREATE TABLE vertebra_memory_branches (
            tenant TEXT NOT NULL,
            conversation TEXT NOT NULL,
            name TEXT NOT NULL,
            parent TEXT,
            shared BIGINT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (tenant, conversation, name)
        )
        """,
        """
        CREATE TABLE vertebra_memory_messages (
            tenant TEXT NOT NULL,
            conversation TEXT NOT NULL,
            id BIGINT NOT NULL,
            branch TEXT NOT NULL,
            append_key TEXT,
            role TEXT NOT NULL,
            message TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            tokens BIGINT,
            thread TEXT,
            run TEXT,
            node TEXT,
            step BIGINT,
            model TEXT,
            PRIMARY KEY (tenant, conversation, id)
        )
        """,
        "CREATE UNIQUE INDEX vertebra_memory_by_key ON vertebra_memory_messages (tenant, conversation, append_key)",
    ),
    (
        """
        CREATE TABLE vertebra_memory_facts (
            tenant TEXT NOT NULL,
            subject TEXT NOT NULL,
            id BIGINT NOT NULL,
            predicate TEXT NOT NULL,
            value TEXT NOT NULL,
            valid_from DOUBLE PRECISION,
            valid_until DOUBLE PRECISION,
            learned_at DOUBLE PRECISION NOT NULL,
            retracted BIGINT NOT NULL,
            append_key TEXT,
            conversation TEXT,
            message BIGINT,
            confidence DOUBLE PRECISION,
            forgotten_at DOUBLE PRECISION,
            PRIMARY KEY (tenant, subject, id)
        )
        """,
        "CREATE UNIQUE INDEX vertebra_memory_facts_by_key ON vertebra_memory_facts (tenant, subject, append_key)",
    ),
    (
        "ALTER TABLE vertebra_memory_messages ADD COLUMN forgotten_at DOUBLE PRECISION",
        "ALTER TABLE vertebra_memory_conversations ADD COLUMN ttl_s DOUBLE PRECISION",
        """
        CREATE TABLE vertebra_memory_holds (
            tenant TEXT NOT NULL,
            id TEXT NOT NULL,
            subject TEXT NOT NULL,
            reason TEXT NOT NULL,
            placed_by TEXT NOT NULL,
            placed_at DOUBLE PRECISION NOT NULL,
            released_by TEXT,
            released_at DOUBLE PRECISION,
            PRIMARY KEY (tenant, id)
        )
        """,
        "CREATE INDEX vertebra_memory_holds_by_subject ON vertebra_memory_holds (tenant, subject)",
        """
        CREATE TABLE vertebra_memory_receipts (
            tenant TEXT NOT NULL,
            id TEXT NOT NULL,
            subject TEXT NOT NULL,
            reason TEXT NOT NULL,
            forgotten_by TEXT NOT NULL,
            begun_at DOUBLE PRECISION NOT NULL,
            ended_at DOUBLE PRECISION,
            removed TEXT NOT NULL,
            digest TEXT,
            PRIMARY KEY (tenant, id)
        )
        """,
        "CREATE INDEX vertebra_memory_receipts_by_subject ON vertebra_memory_receipts (tenant, subject)",
    ),
    (
        """
        CREATE TABLE vertebra_memory_deliveries (
            thread TEXT NOT NULL,
            namespace TEXT NOT NULL,
            checkpoint TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (thread, namespace)
        )
        """,
    ),
    (
        """
        CREATE TABLE vertebra_memory_items (
            tenant TEXT NOT NULL,
            namespace BLOB NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            updated_at DOUBLE PRECISION NOT NULL,
            ttl_minutes DOUBLE PRECISION,
            expires_at DOUBLE PRECISION,
            position BIGINT NOT NULL,
            PRIMARY KEY (tenant, namespace, key)
        )
        """,
        "CREATE UNIQUE INDEX vertebra_memory_items_in_order ON vertebra_memory_items (tenant, position)",
        """
        CREATE TABLE vertebra_memory_item_vectors (
            tenant TEXT NOT NULL,
            namespace BLOB NOT NULL,
            key TEXT NOT NULL,
            path TEXT NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (tenant, namespace, key, path)
        )
        """,
    ),
    RECALL,
    (
        "ALTER TABLE vertebra_memory_messages ADD COLUMN pinned BIGINT NOT NULL DEFAULT 0",
        """
        CREATE INDEX vertebra_memory_leading ON vertebra_memory_messages (tenant, conversation, id)
        WHERE (role IN ('system', 'developer') OR pinned = 1)
        """,
        """
        CREATE TABLE vertebra_memory_summaries (
            tenant TEXT NOT NULL,
            conversation TEXT NOT NULL,
            branch TEXT NOT NULL,
            low BIGINT NOT NULL,
            high BIGINT NOT NULL,
            text TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            thread TEXT,
            run TEXT,
            node TEXT,
            step BIGINT,
            model TEXT,
            PRIMARY KEY (tenant, conversation, branch, high)
        )
        """,
    ),
    (key_table(KEYS), *SEALED_VECTORS),
    REMOVALS,
    SUMMARIES,
)

VERSIONS = "vertebra_memory_schema"

_WITH_CONTENT = tuple(f"vertebra_memory_{name}" for name in ("conversations", "facts", "items", "holds", "receipts"))


def is_empty(tx: Tx, backend: str) -> bool:
    """Whether nothing is kept yet."""
    return not any(tx.one(f"SELECT 1 FROM {table} LIMIT 1") for table in _WITH_CONTENT)


def migrate(database: Database) -> int:
    """Bring the tables to this release's version. Raises ``StoreTooNew``."""
    return migrating.migrate(database, MIGRATIONS, table=VERSIONS)
