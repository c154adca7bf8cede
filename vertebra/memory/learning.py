"""What is known of a subject, as a log of statements that is only ever added to.

Each statement says of one predicate what holds over a span of time, and when that was learned. What holds at a time
is what was learned last among the statements whose span covers it: a later one supersedes an earlier one exactly
where they overlap, without a change to it. What was known at a time is the same over the statements of until then
(bitemporal: R. T. Snodgrass, "Developing Time-Oriented Database Applications in SQL", 1999).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import FactMismatch
from vertebra.memory import content
from vertebra.memory.messages import canonical
from vertebra.memory.place import Whom
from vertebra.memory.pseudonyms import pseudonym


@dataclass(frozen=True, slots=True)
class Source:
    """The message that a fact was learned from."""

    conversation: str
    message: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement: ``predicate`` has ``value`` over a span of time; with ``retracted``, it has none.

    ``valid_from`` None: since ever; ``valid_until`` None: until further notice, else excluded. Times are Unix seconds;
    ``id`` grows with each statement on the subject. Of one that was forgotten only the key's digest and times are left.
    """

    id: int
    subject: str
    predicate: str
    value: Any
    valid_from: float | None
    valid_until: float | None
    learned_at: float
    retracted: bool = False
    key: str | None = None
    source: Source | None = None
    confidence: float | None = None
    forgotten_at: float | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A fact that is to be kept. ``value`` is canonical JSON; ``from_now``: valid from when it is learned."""

    predicate: str
    value: str
    retracted: bool
    from_now: bool
    valid_from: float | None
    valid_until: float | None
    key: str | None = None
    source: Source | None = None
    confidence: float | None = None


COLUMNS = (
    "f.id, f.subject, f.predicate, f.value, f.valid_from, f.valid_until, f.learned_at, f.retracted, f.append_key, "
    "f.conversation, f.message, f.confidence, f.forgotten_at"
)


def fact_of(tx: Tx, tenant: str, row: Sequence[Any]) -> Fact:
    """From a row of ``COLUMNS``. Raises ``EncryptionError``, ``StoreCorrupt``."""
    number, subject, predicate, value, since, until, learned, retracted, key, *rest = row
    conversation, message, confidence, forgotten_at = rest
    found = content.FACT.read(tx, value, json.loads, tenant, subject, int(number))
    if tx.seals.on:
        predicate, found = found
    return Fact(
        int(number),
        subject,
        predicate,
        found,
        since,
        until,
        float(learned),
        bool(retracted),
        key,
        None if conversation is None else Source(conversation, int(message)),
        confidence,
        forgotten_at,
    )


def learn(tx: Tx, whom: Whom, statement: Statement) -> Fact:
    """The fact as it is kept: the first one under its key, be it forgotten. Raises ``FactMismatch``."""
    whom.lock(tx)
    # Ids run on over what was forgotten of the subject: those statements stand under its pseudonym.
    both = (whom.subject, pseudonym(whom.subject))
    if statement.key is not None:
        before = tx.one(
            f"SELECT {COLUMNS} FROM vertebra_memory_facts f "
            "WHERE f.tenant = ? AND f.subject IN (?, ?) AND f.append_key IN (?, ?)",
            *(whom.tenant, *both, statement.key, pseudonym(statement.key)),
        )
        if before is not None:
            return _same(fact_of(tx, whom.tenant, before), statement)
    (number, latest) = tx.one(
        "SELECT coalesce(max(id), 0), coalesce(max(learned_at), 0) FROM vertebra_memory_facts "
        "WHERE tenant = ? AND subject IN (?, ?)",
        *(whom.tenant, *both),
    ) or (0, 0)
    # A clock that was set back must not part the order of ids from that of learning: known_at() stands on both.
    now = max(tx.now(), float(latest))
    fact = Fact(
        int(number) + 1,
        whom.subject,
        statement.predicate,
        json.loads(statement.value),
        now if statement.from_now else statement.valid_from,
        statement.valid_until,
        now,
        statement.retracted,
        statement.key,
        statement.source,
        statement.confidence,
    )
    insert(tx, whom.tenant, fact)
    return fact


def _same(there: Fact, statement: Statement) -> Fact:
    was = (there.predicate, canonical(there.value), there.retracted)
    if there.forgotten_at is None and was != (statement.predicate, statement.value, statement.retracted):
        raise FactMismatch(f"Key {statement.key!r} has another fact already, {there.id}.", fact_id=there.id)
    return there


def kept(tx: Tx, tenant: str, fact: Fact) -> tuple[str, str]:
    """Predicate and value as they are stored: sealed, both of them stand in the value."""
    value = canonical([fact.predicate, fact.value] if tx.seals.on else fact.value)
    return (
        content.predicate_digest(tx, tenant, fact.subject, fact.predicate),
        content.FACT.seal(tx, value, tenant, fact.subject, fact.id),
    )


def insert(tx: Tx, tenant: str, fact: Fact) -> None:
    """Write the row of a fact, wherever its id comes from."""
    source = fact.source
    tx.execute(
        "INSERT INTO vertebra_memory_facts (tenant, subject, id, predicate, value, valid_from, valid_until, "
        "learned_at, retracted, append_key, conversation, message, confidence, forgotten_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(tenant, fact.subject, fact.id, *kept(tx, tenant, fact), fact.valid_from, fact.valid_until),
        *(fact.learned_at, int(fact.retracted), fact.key),
        *((None, None) if source is None else (source.conversation, source.message)),
        *(fact.confidence, fact.forgotten_at),
    )


def put(tx: Tx, tenant: str, fact: Fact) -> bool:
    """Write a fact that is brought along, under its id; whether it is new. What was forgotten here stays so.

    Raises ``FactMismatch`` where its id or key has another fact.
    """
    Whom(tenant, fact.subject).lock(tx)
    keys = (fact.key, None if fact.key is None else pseudonym(fact.key))
    rows = tx.all(
        f"SELECT {COLUMNS} FROM vertebra_memory_facts f "
        "WHERE f.tenant = ? AND f.subject IN (?, ?) AND (f.id = ? OR f.append_key IN (?, ?))",
        *(tenant, fact.subject, pseudonym(fact.subject), fact.id, *keys),
    )
    there = [fact_of(tx, tenant, row) for row in rows]
    if not there:
        insert(tx, tenant, fact)
        return True
    if any(here.id != fact.id or (here != fact and here.forgotten_at is None) for here in there):
        raise FactMismatch(f"There is another fact {fact.id} of this subject here.", fact_id=fact.id)
    return False


def page(tx: Tx, tenant: str, subjects: Sequence[str], *, after: tuple[str, int], limit: int) -> list[Fact]:
    """The next facts of a tenant, or of these subjects, by subject and id: those that were forgotten, too."""
    where = f"AND f.subject IN ({', '.join('?' * len(subjects))}) " if subjects else ""
    rows = tx.all(
        f"SELECT {COLUMNS} FROM vertebra_memory_facts f WHERE f.tenant = ? {where}"
        "AND (f.subject, f.id) > (?, ?) ORDER BY f.subject, f.id LIMIT ?",
        *(tenant, *subjects, *after, limit),
    )
    return [fact_of(tx, tenant, row) for row in rows]


def holding(tx: Tx, whom: Whom, *, as_of: float | None, known_at: float | None, predicate: str | None) -> list[Fact]:
    """What holds at ``as_of`` (by default now) by what was known at ``known_at`` (by default all), by predicate."""
    where, values = _scope(tx, whom, known_at, predicate)
    at = tx.now() if as_of is None else as_of
    rows = tx.all(
        f"SELECT {COLUMNS} FROM vertebra_memory_facts f WHERE f.tenant = ? AND f.subject = ? AND f.retracted = 0 "
        f"AND f.id IN (SELECT max(f.id) FROM vertebra_memory_facts f WHERE {where} "
        "AND (f.valid_from IS NULL OR f.valid_from <= ?) AND (f.valid_until IS NULL OR f.valid_until > ?) "
        "GROUP BY f.predicate)",
        *(whom.tenant, whom.subject, *values, at, at),
    )
    return sorted((fact_of(tx, whom.tenant, row) for row in rows), key=lambda fact: fact.predicate)


def history(tx: Tx, whom: Whom, *, known_at: float | None, predicate: str | None) -> list[Fact]:
    """Every statement, retractions too, in the order in which they were learned."""
    where, values = _scope(tx, whom, known_at, predicate)
    rows = tx.all(f"SELECT {COLUMNS} FROM vertebra_memory_facts f WHERE {where} ORDER BY f.id", *values)
    return [fact_of(tx, whom.tenant, row) for row in rows]


def _scope(tx: Tx, whom: Whom, known_at: float | None, predicate: str | None) -> tuple[str, list[Any]]:
    where, values = "f.tenant = ? AND f.subject = ? AND f.forgotten_at IS NULL", [whom.tenant, whom.subject]
    asked = None if predicate is None else content.predicate_digest(tx, whom.tenant, whom.subject, predicate)
    extra: list[tuple[str, Any]] = [("learned_at <=", known_at), ("predicate =", asked)]
    for test, value in extra:
        if value is not None:
            where += f" AND f.{test} ?"
            values.append(value)
    return where, values
