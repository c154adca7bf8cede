"""Appending a message, exactly once a key, in the one order that a conversation has."""

from __future__ import annotations

from dataclasses import dataclass

from vertebra.databases.database import Row, Statement, Tx
from vertebra.errors import BranchNotFound, MessageMismatch, SubjectMismatch
from vertebra.memory import content
from vertebra.memory.messages import ChatMessage
from vertebra.memory.place import Place
from vertebra.memory.pseudonyms import pseudonym
from vertebra.memory.recall import index
from vertebra.memory.recall.index import Entry
from vertebra.memory.recall.scope import MESSAGE
from vertebra.memory.records import MAIN, MESSAGE_COLUMNS, Message, Provenance, message_of

_KNOWN = "SELECT subject, messages FROM vertebra_memory_conversations WHERE tenant = ? AND id = ?"


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be appended."""

    chat: ChatMessage
    key: str | None
    tokens: int | None
    provenance: Provenance


def append(tx: Tx, place: Place, subject: str | None, draft: Draft) -> Message:
    """The message as it is kept: the first one under its key, be it forgotten. Raises ``MessageMismatch``."""
    place.lock(tx)
    now, known, used = _look(tx, place, draft.key)
    count = _ensured(tx, place, subject, known)
    require_branch(tx, place)
    before = None if used is None else message_of(tx, place.scope, used)
    if before is not None:
        if before.forgotten_at is None and (before.branch, before.chat.to_json()) != (
            place.branch,
            draft.chat.to_json(),
        ):
            raise MessageMismatch(
                f"Key {draft.key!r} of conversation {place.id!r} has another message, {before.id} "
                f"on branch {before.branch!r}.",
                conversation=place.id,
                message_id=before.id,
            )
        return before
    return add(tx, place, count, draft, now)


def add(tx: Tx, place: Place, count: int, draft: Draft, now: float) -> Message:
    """Write the message after the ``count`` that there are; the conversation is locked, and the branch is there."""
    message = Message(count + 1, place.branch, draft.chat, now, draft.key, draft.tokens, draft.provenance)
    counted = "UPDATE vertebra_memory_conversations SET messages = ?, updated_at = ? WHERE tenant = ? AND id = ?"
    insert(tx, place, message, (counted, message.id, now, *place.scope))
    return message


def _look(tx: Tx, place: Place, key: str | None) -> tuple[float, Row | None, Row | None]:
    """The time, the conversation as ``_KNOWN`` has it, and the message of the key, in one look; the lock is held."""
    message = f"SELECT {MESSAGE_COLUMNS} FROM vertebra_memory_messages m WHERE m.tenant = ? AND m.conversation = ? "
    row = tx.one(
        f"SELECT looked.at, known.subject, known.messages, used.* FROM (SELECT {tx.now_sql} AS at) AS looked "
        f"LEFT JOIN ({_KNOWN}) AS known ON true LEFT JOIN ({message} AND m.append_key IN (?, ?)) AS used ON true",
        *(*place.scope, *place.scope, key, None if key is None else pseudonym(key)),
    )
    assert row is not None
    at, subject, messages, *used = row
    return float(at), None if messages is None else (subject, messages), None if used[0] is None else used


def ensure(tx: Tx, place: Place, subject: str | None) -> int:
    """Make the conversation where there is none; the number of its messages. Raises ``SubjectMismatch``."""
    return _ensured(tx, place, subject, tx.one(_KNOWN, *place.scope))


def _ensured(tx: Tx, place: Place, subject: str | None, row: Row | None) -> int:
    if row is None:
        now = tx.now()
        tx.execute(
            "INSERT INTO vertebra_memory_conversations (tenant, id, subject, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?)",
            *(*place.scope, subject, now, now),
        )
        tx.execute(
            "INSERT INTO vertebra_memory_branches (tenant, conversation, name, shared, created_at) "
            "VALUES (?, ?, ?, 0, ?)",
            *(*place.scope, MAIN, now),
        )
        return 0
    require_subject(place, row[0], subject)
    if subject is not None and row[0] in (None, pseudonym(subject)) and row[0] != subject:
        tx.execute(
            "UPDATE vertebra_memory_conversations SET subject = ? WHERE tenant = ? AND id = ?", subject, *place.scope
        )
    return int(row[1])


def require_subject(place: Place, known: str | None, asked: str | None) -> None:
    """Raise ``SubjectMismatch`` where both are named and differ. The other's name is not told.

    Who was forgotten, and returns, is known by the pseudonym.
    """
    if known is not None and asked is not None and known not in (asked, pseudonym(asked)):
        raise SubjectMismatch(f"Conversation {place.id!r} is not with {asked!r}.", conversation=place.id, subject=asked)


def require_branch(tx: Tx, place: Place) -> None:
    """Raise ``BranchNotFound``."""
    query = "SELECT 1 FROM vertebra_memory_branches WHERE tenant = ? AND conversation = ? AND name = ?"
    if place.branch != MAIN and tx.one(query, *place.scope, place.branch) is None:
        raise BranchNotFound(
            f"Conversation {place.id!r} has no branch {place.branch!r}.", conversation=place.id, branch=place.branch
        )


def insert(tx: Tx, place: Place, message: Message, *more: Statement) -> None:
    """Write the row of a message, wherever its id comes from, let it be found, and write ``more`` with it."""
    where = message.provenance
    row = (
        "INSERT INTO vertebra_memory_messages (tenant, conversation, id, branch, append_key, role, message, at, "
        "tokens, thread, run, node, step, model, forgotten_at, "
        "pinned) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(*place.scope, message.id, message.branch, message.key, message.role),
        *(content.MESSAGE.seal(tx, message.chat.to_json(), *place.scope, message.id), message.at),
        *(message.tokens, where.thread, where.run, where.node, where.step, where.model, message.forgotten_at),
        int(message.pinned),
    )
    if message.forgotten_at is None:
        said = (message.id, message.branch, message.role, message.at, message.text)
        more = (*index.adding(tx, Entry(place.tenant, MESSAGE, place.id, *said)), *more)
    tx.write(row, *more)


def under_key(tx: Tx, place: Place, key: str) -> Message | None:
    """The message of this key, on whatever branch."""
    *_, used = _look(tx, place, key)
    return None if used is None else message_of(tx, place.scope, used)
