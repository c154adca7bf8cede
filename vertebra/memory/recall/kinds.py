"""The kinds of texts that are found again: where the text of each is kept, as long as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vertebra.databases.database import Tx
from vertebra.memory.messages import ChatMessage
from vertebra.memory.recall.scope import MESSAGE, SUMMARY


@dataclass(frozen=True, slots=True)
class Kind:
    """``table`` has tenant, conversation and the ``number``; ``text`` makes of its ``column`` what was indexed."""

    table: str
    number: str
    column: str
    text: Callable[[str], str]


def _of_message(column: str) -> str:
    return ChatMessage.model_validate(json.loads(column)).text


KINDS: Mapping[str, Kind] = {
    MESSAGE: Kind("vertebra_memory_messages", "id", "message", _of_message),
    SUMMARY: Kind("vertebra_memory_summaries", "number", "text", str),
}


def texts(tx: Tx, tenant: str, wanted: Sequence[tuple[str, str, int]]) -> list[str | None]:
    """The text of each (kind, conversation, number); None for what is not there any more."""
    found: list[str | None] = []
    for kind, conversation, number in wanted:
        source = KINDS[kind]
        row = tx.one(
            f"SELECT {source.column} FROM {source.table} WHERE tenant = ? AND conversation = ? AND {source.number} = ?",
            *(tenant, conversation, number),
        )
        found.append(None if row is None else source.text(row[0]))
    return found
