"""The index of entries: each text that can be found again, put in and taken out with what it is a text of."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Statement, Tx
from vertebra.memory.recall.blinding import indexed
from vertebra.memory.recall.totals import note_removal


@dataclass(frozen=True, slots=True)
class Entry:
    """What can be found: the ``number`` of a ``kind`` (a message, a summary ...) in a conversation of a tenant."""

    tenant: str
    kind: str
    conversation: str
    number: int
    branch: str
    role: str
    at: float
    text: str


def add(tx: Tx, entry: Entry) -> None:
    """Make an entry found from this transaction's commit on; one that is there stays. A text of blanks is none.

    Calls no network and no model: its vector is made later (``pending``).
    """
    if statements := adding(tx, entry):
        tx.write(*statements)


def adding(tx: Tx, entry: Entry) -> list[Statement]:
    """The statements of ``add``, to be run as they stand."""
    if not entry.text.strip():
        return []
    terms = indexed(tx.seals, entry.tenant, entry.text)
    columns = "tenant, kind, conversation, number, branch, role, at, length, tokens"
    values = (entry.tenant, entry.kind, entry.conversation, entry.number, entry.branch, entry.role, entry.at)
    prefix = prefix_of(entry.tenant)
    prefixed = " ".join([prefix + term for term in terms])
    if tx.backend == "postgresql":
        sql = (
            f"INSERT INTO vertebra_memory_entries ({columns}, terms) VALUES "
            "(?, ?, ?, ?, ?, ?, ?, ?, ?, array_to_tsvector(string_to_array(?, ' '))) ON CONFLICT DO NOTHING"
        )
        return [(sql, *values, len(terms), " ".join(terms), prefixed)]
    sql = f"INSERT INTO vertebra_memory_entries ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    # Only if that one was not there.
    its_terms = "INSERT INTO vertebra_memory_terms (rowid, terms) SELECT last_insert_rowid(), ? WHERE changes() > 0"
    return [(sql, *values, len(terms), " ".join(terms)), *([(its_terms, prefixed)] if terms else [])]


def remove(tx: Tx, tenant: str, conversation: str, *, kind: str | None = None, number: int | None = None) -> int:
    """Take out, with terms and vectors, all of a conversation, of a kind in it, or one of them; how many there were.

    To be called by whoever deletes, empties or replaces a text, in the same transaction.
    """
    values: list[Any] = [tenant, conversation]
    where = "tenant = ? AND conversation = ?"
    for column, value in (("kind", kind), ("number", number)):
        if value is not None:
            where += f" AND {column} = ?"
            values.append(value)
    lock(tx, tenant)
    entries = f"(SELECT entry FROM vertebra_memory_entries WHERE {where})"
    if tx.backend == "sqlite":
        # An index without content is told what it loses; the letters between terms are those of `add`.
        tx.execute(
            "INSERT INTO vertebra_memory_terms (vertebra_memory_terms, rowid, terms) "
            "SELECT 'delete', entry, ? || replace(tokens, ' ', ' ' || ?) FROM vertebra_memory_entries "
            f"WHERE {where} AND tokens <> ''",
            *(prefix_of(tenant), prefix_of(tenant), *values),
        )
    if tx.execute(f"DELETE FROM vertebra_memory_vectors WHERE entry IN {entries}", *values):
        tx.execute("UPDATE vertebra_memory_spaces SET removed = removed + 1 WHERE tenant = ?", tenant)
    tx.execute(f"DELETE FROM vertebra_memory_claims WHERE entry IN {entries}", *values)
    removed = tx.execute(f"DELETE FROM vertebra_memory_entries WHERE {where}", *values)
    if removed:
        note_removal(tx, tenant)
    return removed


def purge(tx: Tx) -> None:
    """Write the index anew without what was taken out: SQLite's keeps removed terms until their segment is merged."""
    if tx.backend == "sqlite":
        tx.execute("INSERT INTO vertebra_memory_terms (vertebra_memory_terms) VALUES ('optimize')")


def lock(tx: Tx, tenant: str) -> None:
    """Taken by who removes entries, claims or writes vectors: no vector outlives its entry or is made twice."""
    tx.lock(json.dumps(["vertebra vectors", tenant]))


@functools.lru_cache(1024)
def prefix_of(tenant: str) -> str:
    """What stands before each term of a tenant, so that a question reads the lists of its own tenant alone.

    It makes searches short; what bounds them is the tenant in each statement.
    """
    return base64.b32encode(hashlib.blake2b(tenant.encode(), digest_size=5).digest()).decode().lower() + ":"
