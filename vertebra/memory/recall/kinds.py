"""The kinds of texts that are found again: where the text of each is kept, as long as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vertebra.databases.database import Tx
from vertebra.memory import content
from vertebra.memory.content import Column
from vertebra.memory.messages import read_kept
from vertebra.memory.recall.scope import MESSAGE, SUMMARY


@dataclass(frozen=True, slots=True)
class Kind:
    """``number``: the column that counts within a conversation; ``text`` makes of ``column`` what was indexed."""

    column: Column
    number: str
    text: Callable[[str], str]


KINDS: Mapping[str, Kind] = {
    MESSAGE: Kind(content.MESSAGE, "id", lambda kept: read_kept(kept).text),
    SUMMARY: Kind(content.SUMMARY, "number", str),
}


def texts(tx: Tx, tenant: str, wanted: Sequence[tuple[str, str, int]]) -> list[str | None]:
    """The text of each (kind, conversation, number); None for what is not there any more."""
    found: list[str | None] = []
    for kind, conversation, number in wanted:
        source = KINDS[kind]
        row = tx.one(
            f"SELECT {source.column.name}, {', '.join(source.column.key)} FROM {source.column.table} "
            f"WHERE tenant = ? AND conversation = ? AND {source.number} = ?",
            *(tenant, conversation, number),
        )
        found.append(None if row is None else source.column.read(tx, row[0], source.text, *row[1:]))
    return found
