"""Reading: the messages of a line, the branches of a conversation, the conversations of a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import ConversationNotFound
from vertebra.memory import content
from vertebra.memory.appending import require_branch, require_subject
from vertebra.memory.place import Place
from vertebra.memory.records import MAIN, MESSAGE_COLUMNS, Branch, ConversationRecord, Message, message_of

# The branch, then what it shares with each of its ancestors: `high` is the last message of theirs that belongs to it.
LINE = """
WITH RECURSIVE line (branch, parent, shared, high) AS (
    SELECT name, parent, shared, 9223372036854775807 FROM vertebra_memory_branches
    WHERE tenant = ? AND conversation = ? AND name = ?
    UNION ALL
    SELECT b.name, b.parent, b.shared, line.shared FROM line JOIN vertebra_memory_branches b
    ON b.tenant = ? AND b.conversation = ? AND b.name = line.parent
)
"""
_LEADS = "(m.role IN ('system', 'developer') OR m.pinned = 1)"
"""What stands first in a window; in these words, which are those of an index."""
_AT_ONCE = 400
_RECORD_COLUMNS = "c.id, c.subject, c.title, c.messages, c.created_at, c.updated_at, c.ttl_s"


def messages(
    tx: Tx,
    place: Place,
    subject: str | None,
    *,
    last: int | None,
    before: int | None,
    after: int | None,
    talk_only: bool = False,
) -> list[Message]:
    """In their order: of those between ``after`` and ``before`` (ids, both excluded) the ``last`` ones.

    ``talk_only``: without those that lead a window.
    """
    there = exists(tx, place, subject)
    require_branch(tx, place)
    if not there:
        return []
    bounds, values = f"AND NOT {_LEADS} " if talk_only else "", []
    for sign, bound in (("<", before), (">", after)):
        if bound is not None:
            bounds += f"AND m.id {sign} ? "
            values.append(bound)
    if last is not None:
        values.append(last)
    # CROSS JOIN: SQLite walks the messages from the newest back and stops at the limit, not the lines first.
    rows = tx.all(
        f"{LINE} SELECT {MESSAGE_COLUMNS} FROM vertebra_memory_messages m CROSS JOIN line "
        f"WHERE m.tenant = ? AND m.conversation = ? AND m.branch = line.branch AND m.id <= line.high {bounds}"
        f"ORDER BY m.id DESC{'' if last is None else ' LIMIT ?'}",
        *(*place.scope, place.branch, *place.scope, *place.scope, *values),
    )
    return [message_of(tx, place.scope, row) for row in reversed(rows)]


def first_after(tx: Tx, place: Place, thread: str, step: int) -> int | None:
    """The id of the first message of the line that ``thread`` appended in a superstep after ``step``."""
    row = tx.one(
        f"{LINE} SELECT min(m.id) FROM vertebra_memory_messages m CROSS JOIN line WHERE m.tenant = ? "
        "AND m.conversation = ? AND m.branch = line.branch AND m.id <= line.high AND m.thread = ? AND m.step > ?",
        *(*place.scope, place.branch, *place.scope, *place.scope, thread, step),
    )
    return None if row is None or row[0] is None else int(row[0])


def newest_id(tx: Tx, place: Place) -> int:
    """The id that the latest message has, on whatever branch; 0 where there is none."""
    row = tx.one("SELECT messages FROM vertebra_memory_conversations WHERE tenant = ? AND id = ?", *place.scope)
    return 0 if row is None else int(row[0])


def has_branch(tx: Tx, place: Place) -> bool:
    """Whether there is the branch; ``main`` always is."""
    query = "SELECT 1 FROM vertebra_memory_branches WHERE tenant = ? AND conversation = ? AND name = ?"
    return place.branch == MAIN or tx.one(query, *place.scope, place.branch) is not None


def leading(tx: Tx, place: Place, subject: str | None, before: int | None) -> list[Message]:
    """The system and pinned messages of a line."""
    if not exists(tx, place, subject):
        return []
    require_branch(tx, place)
    bound, values = ("", ()) if before is None else ("AND m.id < ? ", (before,))
    rows = tx.all(
        f"{LINE} SELECT {MESSAGE_COLUMNS} FROM vertebra_memory_messages m CROSS JOIN line "
        f"WHERE m.tenant = ? AND m.conversation = ? AND {_LEADS} AND m.branch = line.branch AND m.id <= line.high "
        f"{bound}ORDER BY m.id",
        *(*place.scope, place.branch, *place.scope, *place.scope, *values),
    )
    return [message_of(tx, place.scope, row) for row in rows]


def by_ids(tx: Tx, place: Place, subject: str | None, ids: Sequence[int]) -> list[Message]:
    """Those of these messages that are there, on whatever branch."""
    if not exists(tx, place, subject):
        return []
    rows: list[Any] = []
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        rows += tx.all(
            f"SELECT {MESSAGE_COLUMNS} FROM vertebra_memory_messages m WHERE m.tenant = ? AND m.conversation = ? "
            f"AND m.id IN ({', '.join('?' * len(some))})",
            *(*place.scope, *some),
        )
    return [message_of(tx, place.scope, row) for row in rows]


def exists(tx: Tx, place: Place, subject: str | None) -> bool:
    """Whether there is such a conversation. Raises ``SubjectMismatch``."""
    row = tx.one("SELECT subject FROM vertebra_memory_conversations WHERE tenant = ? AND id = ?", *place.scope)
    if row is not None:
        require_subject(place, row[0], subject)
    return row is not None


def require(tx: Tx, place: Place, subject: str | None) -> None:
    """Raise ``ConversationNotFound``, ``SubjectMismatch`` or ``BranchNotFound``."""
    if not exists(tx, place, subject):
        raise ConversationNotFound(f"There is no conversation {place.id!r} here.", conversation=place.id)
    require_branch(tx, place)


def record(tx: Tx, place: Place, subject: str | None) -> ConversationRecord:
    """Raises ``ConversationNotFound`` and ``SubjectMismatch``."""
    require(tx, place, subject)
    (found,) = conversations(tx, place.tenant, id=place.id)
    return found


def branches(tx: Tx, place: Place, subject: str | None) -> list[Branch]:
    """All of them, parents before their children."""
    require(tx, place, subject)
    rows = tx.all(
        "SELECT name, parent, shared, created_at FROM vertebra_memory_branches "
        "WHERE tenant = ? AND conversation = ? ORDER BY shared, name",
        *place.scope,
    )
    return sorted((Branch(n, p, int(a), float(c)) for n, p, a, c in rows), key=lambda branch: branch.parent is not None)


def conversations(
    tx: Tx,
    tenant: str,
    *,
    id: str | None = None,
    subject: str | None = None,
    tags: Sequence[str] = (),
    limit: int | None = None,
) -> list[ConversationRecord]:
    """A tenant's conversations, latest first: with this subject and all of these tags."""
    where = "c.tenant = ?"
    values: list[Any] = [tenant]
    for column, value in (("id", id), ("subject", subject)):
        if value is not None:
            where += f" AND c.{column} = ?"
            values.append(value)
    for tag in tags:
        where += (
            " AND EXISTS (SELECT 1 FROM vertebra_memory_tags t "
            "WHERE t.tenant = ? AND t.conversation = c.id AND t.tag = ?)"
        )
        values += [tenant, tag]
    chosen = (
        f"FROM vertebra_memory_conversations c WHERE {where} "
        f"ORDER BY c.updated_at DESC, c.id{'' if limit is None else ' LIMIT ?'}"
    )
    values += [] if limit is None else [limit]
    rows = tx.all(f"SELECT {_RECORD_COLUMNS} {chosen}", *values)
    tagged = tx.all(
        "SELECT conversation, tag FROM vertebra_memory_tags "
        f"WHERE tenant = ? AND conversation IN (SELECT c.id {chosen}) ORDER BY tag",
        *(tenant, *values),
    )
    found: dict[str, list[str]] = {}
    for conversation, tag in tagged:
        found.setdefault(conversation, []).append(tag)
    return [
        ConversationRecord(
            id,
            subject,
            None if title is None else content.TITLE.unseal(tx, title, tenant, id),
            tuple(sorted(found.get(id, ()))),
            int(count),
            float(begun),
            float(updated),
            ttl_s,
        )
        for id, subject, title, count, begun, updated, ttl_s in rows
    ]
