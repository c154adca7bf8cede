"""Changes to a conversation that are no messages: branches, title, tags, and its end."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.databases.database import Tx
from vertebra.errors import BranchExists, MessageNotFound
from vertebra.memory import content, holds, reading, summarising
from vertebra.memory.appending import ensure, require_branch
from vertebra.memory.place import Place, Whom
from vertebra.memory.recall import index
from vertebra.memory.records import MAIN, Provenance
from vertebra.memory.summarising import Summary

TABLES = ("messages", "branches", "tags", "summaries")


def branch(tx: Tx, place: Place, subject: str | None, name: str, at: int | None) -> None:
    """Begin a branch after message ``at`` (by default the newest) of the branch of ``place``.

    Its parent is the branch on which that message stands (main, if it shares nothing): so along a line what is
    shared grows, and parents come before their children when branches are sorted by it.
    Again with the same beginning: nothing happens. Raises ``BranchExists`` and ``MessageNotFound``.
    """
    place.lock(tx)
    ensure(tx, place, subject)
    require_branch(tx, place)
    parent, shared = MAIN, 0
    newest = reading.messages(tx, place, subject, last=1, before=None if at is None else at + 1, after=None)
    if newest:
        parent, shared = newest[0].branch, newest[0].id
    if at is not None and at != shared:
        raise MessageNotFound(
            f"Branch {place.branch!r} of conversation {place.id!r} has no message {at}.", conversation=place.id
        )
    there = tx.one(
        "SELECT parent, shared FROM vertebra_memory_branches WHERE tenant = ? AND conversation = ? AND name = ?",
        *(*place.scope, name),
    )
    if there is None:
        tx.execute(
            "INSERT INTO vertebra_memory_branches (tenant, conversation, name, parent, shared, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            *(*place.scope, name, parent, shared, tx.now()),
        )
    elif (there[0], int(there[1])) != (parent, shared):
        raise BranchExists(
            f"Conversation {place.id!r} has a branch {name!r} that begins elsewhere.",
            conversation=place.id,
            branch=name,
        )


def set_title(tx: Tx, place: Place, subject: str | None, title: str | None) -> None:
    """Name the conversation, or take its name away."""
    place.lock(tx)
    ensure(tx, place, subject)
    tx.execute(
        "UPDATE vertebra_memory_conversations SET title = ?, updated_at = ? WHERE tenant = ? AND id = ?",
        *(None if title is None else content.TITLE.seal(tx, title, *place.scope), tx.now(), *place.scope),
    )


def tag(tx: Tx, place: Place, subject: str | None, add: Sequence[str], remove: Sequence[str]) -> None:
    """Add tags and take tags away; those that are there, or are not, stay so."""
    place.lock(tx)
    ensure(tx, place, subject)
    for name in add:
        tx.execute(
            "INSERT INTO vertebra_memory_tags (tenant, conversation, tag) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            *(*place.scope, name),
        )
    for name in remove:
        tx.execute(
            "DELETE FROM vertebra_memory_tags WHERE tenant = ? AND conversation = ? AND tag = ?", *place.scope, name
        )


def pin(tx: Tx, place: Place, subject: str | None, message: int, pinned: bool) -> None:
    """Let a message of the line stand first in each window, or no more. Raises ``MessageNotFound``."""
    place.lock(tx)
    if not reading.messages(tx, place, subject, last=1, before=message + 1, after=message - 1):
        raise MessageNotFound(
            f"Branch {place.branch!r} of conversation {place.id!r} has no message {message}.", conversation=place.id
        )
    tx.execute(
        "UPDATE vertebra_memory_messages SET pinned = ? WHERE tenant = ? AND conversation = ? AND id = ?",
        *(int(pinned), *place.scope, message),
    )


def summarise(tx: Tx, place: Place, subject: str | None, text: str, upto: int, where: Provenance) -> Summary:
    """Keep a summary of the line from its beginning to message ``upto``. Raises ``MessageNotFound``."""
    place.lock(tx)
    if not reading.messages(tx, place, subject, last=1, before=upto + 1, after=upto - 1):
        raise MessageNotFound(
            f"Branch {place.branch!r} of conversation {place.id!r} has no message {upto}.", conversation=place.id
        )
    summarising.add(tx, place, Summary(place.branch, 1, upto, text, provenance=where))
    found = summarising.ending(tx, place, upto)
    assert found is not None
    return found


def set_ttl(tx: Tx, place: Place, subject: str | None, ttl_s: float | None) -> None:
    """Set for how long after its last change the conversation is kept."""
    place.lock(tx)
    ensure(tx, place, subject)
    tx.execute("UPDATE vertebra_memory_conversations SET ttl_s = ? WHERE tenant = ? AND id = ?", ttl_s, *place.scope)


def delete(tx: Tx, place: Place, subject: str | None) -> bool:
    """Remove the conversation with all of its branches and keys; whether there was one. Raises ``SubjectHeld``."""
    place.lock(tx)
    if not reading.exists(tx, place, subject):
        return False
    row = tx.one("SELECT subject FROM vertebra_memory_conversations WHERE tenant = ? AND id = ?", *place.scope)
    if row is not None and row[0] is not None:
        holds.require_free(tx, Whom(place.tenant, row[0]))
    index.remove(tx, *place.scope)
    for table in TABLES:
        tx.execute(f"DELETE FROM vertebra_memory_{table} WHERE tenant = ? AND conversation = ?", *place.scope)
    tx.execute("DELETE FROM vertebra_memory_conversations WHERE tenant = ? AND id = ?", *place.scope)
    return True
