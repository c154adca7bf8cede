"""Carrying a memory out of a database and into one: page by page, and each conversation whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vertebra.databases.database import Tx
from vertebra.errors import ConversationExists, ConversationNotFound
from vertebra.memory import content, item_copies, learning, reading, summarising
from vertebra.memory.appending import insert
from vertebra.memory.holds import Hold
from vertebra.memory.holds import holds as all_holds
from vertebra.memory.holds import insert as insert_hold
from vertebra.memory.item_copies import ItemCopy
from vertebra.memory.item_lines import item_line
from vertebra.memory.known_lines import Batch, known_line
from vertebra.memory.learning import Fact
from vertebra.memory.lines import Carried, branch_line, head_line, message_line, summary_line
from vertebra.memory.place import Place
from vertebra.memory.pseudonyms import pseudonym
from vertebra.memory.receipts import Receipt, receipts
from vertebra.memory.receipts import insert as insert_receipt
from vertebra.memory.records import MESSAGE_COLUMNS, ConversationRecord, Message, message_of

PAGE = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: what is new, by kind, and ``unchanged``: conversations that were there already."""

    conversations: int
    messages: int
    unchanged: int
    facts: int = 0
    holds: int = 0
    receipts: int = 0
    items: int = 0


class Export:
    """An export under way. Each call of ``more`` is one transaction, so that a long one holds up no writer."""

    def __init__(self, tenant: str, subject: str | None, id: str | None) -> None:
        self._tenant, self._subject, self._id = tenant, subject, id
        self._waiting: list[str] | None = None
        self._record: ConversationRecord | None = None
        self._done = 0
        self._fact: tuple[str, int] | None = None if id is not None else ("", 0)
        self._item: int | None = None if id is not None else 0

    def more(self, tx: Tx) -> list[str] | None:
        """The next lines; None at the end. A conversation is exported as it stands when it is reached."""
        if self._waiting is None:
            found = reading.conversations(tx, self._tenant, id=self._id, subject=self._subject)
            if not found and self._id is not None:
                raise ConversationNotFound(f"There is no conversation {self._id!r} here.", conversation=self._id)
            self._waiting = sorted((record.id for record in found), reverse=True)
        if self._record is not None and self._done < self._record.messages:
            return self._page(tx, self._record)
        while self._waiting:
            place = Place(self._tenant, self._waiting.pop())
            if found := reading.conversations(tx, self._tenant, id=place.id, subject=self._subject):
                self._record, self._done = found[0], 0
                branches = [b for b in reading.branches(tx, place, None) if b.at <= found[0].messages]
                summaries = summarising.of_conversation(tx, place, found[0].messages)
                return [
                    head_line(found[0], len(branches)),
                    *map(branch_line, branches),
                    *(summary_line(s) for s in summaries if s.branch in {b.name for b in branches}),
                ]
        if self._fact is not None and (lines := self._rest(tx, *self._fact)):
            return lines
        if self._item is None:
            return None
        copies, self._item = item_copies.page(tx, self._tenant, self._subject, self._item)
        return [item_line(copy) for copy in copies] if copies or self._item is not None else None

    def _rest(self, tx: Tx, subject: str, id: int) -> list[str]:
        """The facts after this one, or what comes after the last of them."""
        names = () if self._subject is None else (self._subject, pseudonym(self._subject))
        facts = learning.page(tx, self._tenant, names, after=(subject, id), limit=PAGE)
        if facts:
            self._fact = (facts[-1].subject, facts[-1].id)
            return [known_line(fact) for fact in facts]
        self._fact = None
        holds = [hold for hold in all_holds(tx, self._tenant, released=True) if not names or hold.subject in names]
        rest: list[Hold | Receipt] = [*holds, *receipts(tx, self._tenant, subject=self._subject)]
        return [known_line(item) for item in rest]

    def _page(self, tx: Tx, record: ConversationRecord) -> list[str]:
        there = reading.conversations(tx, self._tenant, id=record.id)
        if [found.created_at for found in there] != [record.created_at]:
            raise ConversationNotFound(f"Conversation {record.id!r} was deleted during the export.")
        upto = min(self._done + PAGE, record.messages)
        rows = _rows(tx, Place(self._tenant, record.id), self._done, upto)
        self._done = upto
        return [message_line(message) for message in rows]


def put(tx: Tx, tenant: str, carried: Carried) -> bool:
    """Write a conversation where there is none under its id; whether it is new.

    One that holds all of these messages and branches already, and perhaps more, is left as it is: what was forgotten
    here stays so.
    Raises ``ConversationExists`` for another one.
    """
    head, place = carried.head, Place(tenant, carried.head.id)
    place.lock(tx)
    if reading.exists(tx, place, None):
        there = _rows(tx, place, 0, head.messages)
        branches = {(b.name, b.parent, b.at) for b in reading.branches(tx, place, None)}
        same = len(there) == len(carried.messages) and all(
            replace(here, pinned=brought.pinned) == brought or here.forgotten_at is not None
            for here, brought in zip(there, carried.messages, strict=True)
        )
        if not same or not {(b.name, b.parent, b.at) for b in carried.branches} <= branches:
            raise ConversationExists(
                f"There is another conversation {head.id!r} here, with other messages.", conversation=head.id
            )
        return False
    tx.execute(
        "INSERT INTO vertebra_memory_conversations (tenant, id, subject, title, messages, created_at, updated_at, "
        "ttl_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(*place.scope, head.subject, None if head.title is None else content.TITLE.seal(tx, head.title, *place.scope)),
        *(head.messages, head.created_at, head.updated_at, head.ttl_s),
    )
    for tag in sorted(set(head.tags)):
        tx.execute("INSERT INTO vertebra_memory_tags (tenant, conversation, tag) VALUES (?, ?, ?)", *place.scope, tag)
    for branch in carried.branches:
        tx.execute(
            "INSERT INTO vertebra_memory_branches (tenant, conversation, name, parent, shared, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            *(*place.scope, branch.name, branch.parent, branch.at, branch.created_at),
        )
    for summary in carried.summaries:
        summarising.add(tx, Place(tenant, head.id, summary.branch), summary, summary.at)
    for message in carried.messages:
        insert(tx, place, message)
    return True


def put_known(tx: Tx, tenant: str, batch: Batch) -> int:
    """Write what is not there yet; how much that was. Raises ``FactMismatch`` for another fact under an id or key."""
    new = 0
    for item in batch.items:
        if isinstance(item, Fact):
            new += learning.put(tx, tenant, item)
        elif isinstance(item, Hold):
            if not all_holds(tx, tenant, id=item.id, released=True):
                insert_hold(tx, tenant, item)
                new += 1
        elif isinstance(item, ItemCopy):
            new += item_copies.put(tx, tenant, item)
        elif not receipts(tx, tenant, id=item.id):
            insert_receipt(tx, tenant, item)
            new += 1
    return new


def _rows(tx: Tx, place: Place, after: int, upto: int) -> list[Message]:
    rows = tx.all(
        f"SELECT {MESSAGE_COLUMNS} FROM vertebra_memory_messages m "
        "WHERE m.tenant = ? AND m.conversation = ? AND m.id > ? AND m.id <= ? ORDER BY m.id",
        *(*place.scope, after, upto),
    )
    return [message_of(tx, place.scope, row) for row in rows]
