"""Looking up by words: which entries of a scope have the terms of a question, and how well they answer it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory.recall.blinding import blind
from vertebra.memory.recall.index import prefix_of
from vertebra.memory.recall.ranking import Asked, bm25, rarity
from vertebra.memory.recall.scope import Scope
from vertebra.memory.recall.terms import query_terms
from vertebra.memory.recall.totals import Total

READ = 20_000
"""About so many places of terms are read for a question: rare terms first, and the newest of a common one."""

POOL = 200
STEM_LETTERS, ENDING_LETTERS = 4, 3


class Counts:
    """How many entries have a common term, which takes long to count: kept until a twentieth has been added."""

    COMMON = 2_000
    KEPT = 10_000

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tx: Tx, tenant: str, term: str, entries: int) -> int:
        """The number of entries, of ``entries`` of the tenant, that have a term."""
        with self._lock:
            count, among = self._kept.get((tenant, term), (0, 0))
        if count and abs(entries - among) * 20 <= among:
            return count
        count = _count(tx, tenant, term)
        if count > self.COMMON:
            with self._lock:
                self._kept[tenant, term] = (count, entries)
                if len(self._kept) > self.KEPT:
                    self._kept.popitem(last=False)
        return count


@dataclass(frozen=True, slots=True)
class Question:
    """The terms of a question that the tenant has, rare ones first, and what its entries are like.

    ``missing``: how many of its terms no entry has.
    """

    asked: tuple[Asked, ...]
    entries: int
    mean_length: float
    missing: int = 0

    def share(self, score: float) -> float:
        """How much of the question an entry of this score answers, from 0 to 1.

        All, if it has each term, or one that no other entry has: a name or a code is enough.
        """
        whole = sum(rarity(one.found_in, self.entries) for one in self.asked)
        whole = min(whole + self.missing * rarity(0, self.entries), rarity(1, self.entries))
        return min(1.0, score / whole) if whole else 1.0


def read(tx: Tx, tenant: str, query: str, total: Total, counts: Counts) -> Question:
    """A word that is nowhere is looked for by its beginning, down to four letters, less by at most three."""
    found: dict[tuple[str, bool], Asked] = {}
    missing = 0
    for term in query_terms(query) if total.entries else ():
        key = blind(tx.seals, tenant, term)
        asked = Asked(term, counts.of(tx, tenant, key or term, total.entries), blind=key)
        if not asked.found_in and key is None:  # a digest has no beginning
            asked = _beginning(tx, tenant, term)
        if asked.found_in:
            found.setdefault((asked.term, asked.is_prefix), asked)
        else:
            missing += 1
    return Question(
        tuple(sorted(found.values(), key=lambda one: one.found_in)), total.entries, total.mean_length, missing
    )


def best(tx: Tx, scope: Scope, question: Question, depth: int) -> list[tuple[int, float]]:
    """The entries that answer best, at most ``depth`` of them, with their scores; of equal ones the newest first.

    Chosen by their rarer terms, then scored by BM25 over all terms, by counts of their own tenant alone.
    """
    chosen = _chosen(question.asked)
    if not chosen:
        return []
    found = _pool(tx, scope, chosen, question, max(POOL, 2 * depth), depth)
    scored = [
        (int(entry), bm25(question.asked, tokens.split(), question.entries, question.mean_length))
        for entry, tokens in found
    ]
    return sorted(scored, key=lambda item: (-item[1], -item[0]))[:depth]


def _chosen(asked: Sequence[Asked]) -> list[Asked]:
    chosen: list[Asked] = []
    read = 0
    for one in asked:
        read += one.found_in
        if chosen and read > READ:
            break
        chosen.append(one)
    return chosen


def _pool(tx: Tx, scope: Scope, chosen: Sequence[Asked], question: Question, size: int, depth: int) -> list[Any]:
    """Entries with their tokens. Few pass a narrow scope: then all that have the terms are held against it."""
    where, values = scope.where()
    match = _match(tx, scope.tenant, chosen)
    if tx.backend == "postgresql":
        # The sum of the weights of the terms that are there, which BM25 then refines.
        weights = " + ".join(["CASE WHEN e.terms @@ ?::tsquery THEN ? ELSE 0 END"] * len(chosen))
        weighed = [part for one in chosen for part in (_match(tx, scope.tenant, [one]), _weight(one, question))]
        return tx.all(
            f"SELECT e.entry, e.tokens FROM vertebra_memory_entries e WHERE {where} AND e.terms @@ ?::tsquery "
            f"ORDER BY {weights} DESC, e.entry DESC LIMIT ?",
            *(*values, match, *weighed, size),
        )
    floor = _floor(tx, match) if chosen[0].found_in > READ else 0
    near = tx.all(
        "SELECT rowid FROM vertebra_memory_terms WHERE vertebra_memory_terms MATCH ? AND rowid >= ? "
        "ORDER BY bm25(vertebra_memory_terms), rowid DESC LIMIT ?",
        *(match, floor, size),
    )
    ids = [int(row[0]) for row in near]
    kept = (
        []
        if not ids
        else tx.all(
            f"SELECT e.entry, e.tokens FROM vertebra_memory_entries e WHERE e.entry IN ({', '.join('?' * len(ids))}) "
            f"AND {where}",
            *(*ids, *values),
        )
    )
    if len(kept) >= min(depth, len(ids)) or (len(ids) < size and not floor):
        return kept
    return tx.all(
        "SELECT e.entry, e.tokens FROM vertebra_memory_terms JOIN vertebra_memory_entries e "
        f"ON e.entry = vertebra_memory_terms.rowid WHERE vertebra_memory_terms MATCH ? AND {where} "
        "ORDER BY bm25(vertebra_memory_terms), e.entry DESC LIMIT ?",
        *(match, *values, size),
    )


def _floor(tx: Tx, match: str) -> int:
    """The entry from which on the terms have about ``READ`` places."""
    row = tx.one(
        "SELECT min(rowid) FROM (SELECT rowid FROM vertebra_memory_terms WHERE vertebra_memory_terms MATCH ? "
        "ORDER BY rowid DESC LIMIT ?)",
        *(match, READ),
    )
    return int(row[0]) if row and row[0] is not None else 0


def _match(tx: Tx, tenant: str, asked: Sequence[Asked]) -> str:
    """Any of the terms, in the language of the database. A term is letters and digits: nothing in it is an operator."""
    prefix = prefix_of(tenant)
    if tx.backend == "postgresql":
        return " | ".join(f"'{prefix}{one.indexed}'{':*' if one.is_prefix else ''}" for one in asked)
    return " OR ".join(f'"{prefix}{one.indexed}"{"*" if one.is_prefix else ""}' for one in asked)


def _weight(asked: Asked, question: Question) -> float:
    return bm25([asked], [asked.indexed], question.entries, 1.0)


def _beginning(tx: Tx, tenant: str, term: str) -> Asked:
    for length in range(len(term), max(STEM_LETTERS, len(term) - ENDING_LETTERS) - 1, -1):
        asked = Asked(term[:length], 0, is_prefix=True)
        if count := _count_matches(tx, tenant, asked):
            return Asked(asked.term, count, is_prefix=True)
    return Asked(term, 0)


def _count(tx: Tx, tenant: str, term: str) -> int:
    if tx.backend == "postgresql":
        return _count_matches(tx, tenant, Asked(term, 0))
    row = tx.one("SELECT doc FROM vertebra_memory_term_counts WHERE term = ?", prefix_of(tenant) + term)
    return 0 if row is None else int(row[0])


def _count_matches(tx: Tx, tenant: str, asked: Asked) -> int:
    match = _match(tx, tenant, [asked])
    if tx.backend == "postgresql":
        row = tx.one(
            "SELECT count(*) FROM vertebra_memory_entries e WHERE e.tenant = ? AND e.terms @@ ?::tsquery", tenant, match
        )
    else:
        row = tx.one(
            "SELECT count(*) FROM "
            "(SELECT rowid FROM vertebra_memory_terms WHERE vertebra_memory_terms MATCH ? LIMIT ?)",
            *(match, READ),
        )
    return 0 if row is None else int(row[0])
