"""Which columns of memory hold content, and what each value is sealed to: its table, its column, the key of its row.

Content is what was said, what is known, and what is written freely: messages, summaries, titles, facts, reasons,
items. Names by which rows are found stay readable: tenants, subjects, ids, branches, tags, keys, namespaces. The
predicate of a fact is content, and is found by a digest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vertebra.databases.database import Tx
from vertebra.errors import StoreCorrupt

T = TypeVar("T")
Part = str | int


@dataclass(frozen=True, slots=True)
class Column:
    """A column with content. ``key``: what is given, in this order, as the key of a row."""

    table: str
    name: str
    key: tuple[str, ...]

    def seal(self, tx: Tx, text: str, *key: Part) -> str:
        """A text as it is stored."""
        return tx.seals.seal_text(text, self.table, self.name, *key)

    def unseal(self, tx: Tx, stored: str, *key: Part) -> str:
        """The inverse of ``seal``. Raises ``EncryptionError``."""
        return tx.seals.unseal_text(stored, self.table, self.name, *key)

    def read(self, tx: Tx, stored: str, parse: Callable[[str], T], *key: Part) -> T:
        """What ``parse`` makes of the text. Raises ``EncryptionError``, and ``StoreCorrupt`` without the content."""
        text = self.unseal(tx, stored, *key)
        try:
            return parse(text)
        except (TypeError, ValueError, RecursionError) as error:
            where = " ".join(map(str, key))
            raise StoreCorrupt(
                f"{self.table} {self.name} {where} is not as it was written: {type(error).__name__}."
            ) from None

    def seal_bytes(self, tx: Tx, value: bytes, *key: Part) -> bytes:
        """Bytes as they are stored."""
        return tx.seals.seal(value, self.table, self.name, *key)

    def unseal_bytes(self, tx: Tx, stored: bytes, *key: Part) -> bytes:
        """The inverse of ``seal_bytes``. Raises ``EncryptionError``."""
        return tx.seals.unseal(stored, self.table, self.name, *key)


MESSAGE = Column("vertebra_memory_messages", "message", ("tenant", "conversation", "id"))
TITLE = Column("vertebra_memory_conversations", "title", ("tenant", "id"))
SUMMARY = Column("vertebra_memory_summaries", "text", ("tenant", "conversation", "branch", "high"))
FACT = Column("vertebra_memory_facts", "value", ("tenant", "subject", "id"))
HOLD = Column("vertebra_memory_holds", "reason", ("tenant", "id"))
RECEIPT = Column("vertebra_memory_receipts", "reason", ("tenant", "id"))
ITEM = Column("vertebra_memory_items", "value", ("tenant", "namespace", "key"))
ITEM_VECTOR = Column("vertebra_memory_item_vectors", "vector", ("tenant", "namespace", "key", "path"))
VECTOR = Column("vertebra_memory_vectors", "vector", ("tenant", "embedder", "entry"))

COLUMNS = (MESSAGE, TITLE, SUMMARY, FACT, HOLD, RECEIPT, ITEM, ITEM_VECTOR, VECTOR)
"""All of them; whoever adds a column with content adds it here."""


def predicate_digest(tx: Tx, tenant: str, subject: str, predicate: str) -> str:
    """By which the facts of one predicate are found: in a sealed memory a digest, another one for each subject."""
    return tx.seals.digest(predicate, FACT.table, "predicate", tenant, subject)
