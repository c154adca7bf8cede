"""Receipts: that a subject was forgotten, what and how much of it, when, why, by whom, and nothing of its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.errors import ContentTampered
from vertebra.memory import content
from vertebra.memory.messages import canonical
from vertebra.memory.place import Whom
from vertebra.memory.pseudonyms import pseudonym

COLUMNS = "r.id, r.subject, r.reason, r.forgotten_by, r.begun_at, r.ended_at, r.removed, r.digest"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a forget did. ``subject`` is a pseudonym; ``removed`` counts by kind of what had content.

    ``ended_at`` None: it was cut short, and forgetting the same subject again goes on. ``digest`` is over all the
    rest: noted elsewhere, it shows whether a receipt was changed. Times are Unix seconds.
    """

    id: str
    subject: str
    reason: str
    forgotten_by: str
    begun_at: float
    ended_at: float | None
    removed: Mapping[str, int]
    digest: str | None

    @property
    def intact(self) -> bool:
        """Whether the digest is that of the rest."""
        return self.digest == _digest(self)


def receipt_of(tx: Tx, tenant: str, row: Sequence[Any]) -> Receipt:
    """From a row of ``COLUMNS``. Raises ``EncryptionError``."""
    id, subject, reason, by, begun, ended, removed, digest = row
    return Receipt(
        id, subject, content.RECEIPT.unseal(tx, reason, tenant, id), by, begun, ended, json.loads(removed), digest
    )


def receipts(tx: Tx, tenant: str, *, subject: str | None = None, id: str | None = None) -> list[Receipt]:
    """A tenant's receipts, oldest first; ``subject`` by its name or its pseudonym."""
    where, values = "r.tenant = ?", [tenant]
    for column, value in (("subject", None if subject is None else pseudonym(subject)), ("id", id)):
        if value is not None:
            where += f" AND r.{column} = ?"
            values.append(value)
    rows = tx.all(f"SELECT {COLUMNS} FROM vertebra_memory_receipts r WHERE {where} ORDER BY r.begun_at, r.id", *values)
    return [receipt_of(tx, tenant, row) for row in rows]


def unfinished(tx: Tx, whom: Whom) -> Receipt | None:
    """The receipt of a forget that was cut short; one that somebody spoiled is none to go on with."""
    rows = tx.all(
        f"SELECT {COLUMNS} FROM vertebra_memory_receipts r WHERE r.tenant = ? AND r.subject = ? "
        "AND r.ended_at IS NULL ORDER BY r.begun_at, r.id",
        *(whom.tenant, pseudonym(whom.subject)),
    )
    for row in rows:
        with contextlib.suppress(ContentTampered):
            return receipt_of(tx, whom.tenant, row)
    return None


def begin(tx: Tx, whom: Whom, reason: str, by: str) -> Receipt:
    """A new receipt that counts nothing yet, later than all others of its tenant: the clock may stand still between."""
    last = tx.one("SELECT max(begun_at) FROM vertebra_memory_receipts WHERE tenant = ?", whom.tenant)
    begun = tx.now() if last is None or last[0] is None else max(tx.now(), last[0] + 1e-6)
    receipt = Receipt(secrets.token_hex(8), pseudonym(whom.subject), reason, by, begun, None, {}, None)
    insert(tx, whom.tenant, receipt)
    return receipt


def insert(tx: Tx, tenant: str, receipt: Receipt) -> None:
    """Write the row of a receipt."""
    tx.execute(
        "INSERT INTO vertebra_memory_receipts (tenant, id, subject, reason, forgotten_by, begun_at, ended_at, removed, "
        "digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(tenant, receipt.id, receipt.subject, content.RECEIPT.seal(tx, receipt.reason, tenant, receipt.id)),
        *(receipt.forgotten_by, receipt.begun_at),
        *(receipt.ended_at, canonical(dict(receipt.removed)), receipt.digest),
    )


def count(tx: Tx, tenant: str, receipt: Receipt, removed: Mapping[str, int]) -> None:
    """Add to what an unfinished receipt counts, in the transaction that removes it."""
    total = dict(receipt.removed)
    for kind, number in removed.items():
        total[kind] = total.get(kind, 0) + number
    tx.execute(
        "UPDATE vertebra_memory_receipts SET removed = ? WHERE tenant = ? AND id = ?",
        *(canonical(total), tenant, receipt.id),
    )


def end(tx: Tx, tenant: str, id: str) -> Receipt:
    """Finish a receipt, once."""
    (receipt,) = receipts(tx, tenant, id=id)
    if receipt.ended_at is not None:
        return receipt
    ended = Receipt(
        *(receipt.id, receipt.subject, receipt.reason, receipt.forgotten_by, receipt.begun_at, tx.now()),
        *(receipt.removed, None),
    )
    tx.execute(
        "UPDATE vertebra_memory_receipts SET ended_at = ?, digest = ? WHERE tenant = ? AND id = ?",
        *(ended.ended_at, _digest(ended), tenant, id),
    )
    (receipt,) = receipts(tx, tenant, id=id)
    return receipt


def _digest(receipt: Receipt) -> str:
    parts: list[Any] = [receipt.id, receipt.subject, receipt.reason, receipt.forgotten_by, receipt.begun_at]
    return hashlib.sha256(canonical([*parts, receipt.ended_at, dict(receipt.removed)]).encode()).hexdigest()
