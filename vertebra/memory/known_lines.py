"""The lines of an export that belong to no conversation: facts, legal holds, receipts of what was forgotten.

Those of items stand in ``item_lines``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from vertebra.memory.holds import Hold
from vertebra.memory.item_copies import ItemCopy
from vertebra.memory.learning import Fact, Source
from vertebra.memory.messages import canonical
from vertebra.memory.place import KEY_BYTES, name_of, text_of
from vertebra.memory.receipts import Receipt

Known = Fact | Hold | Receipt | ItemCopy
"""What is kept beside conversations."""


class Line(BaseModel):
    """A line of an export: nothing is in it that is not known here."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FactLine(Line):
    """A statement on a subject, under its id."""

    type: Literal["fact"] = "fact"
    id: Annotated[int, Field(ge=1)]
    subject: str
    predicate: str
    value: JsonValue
    valid_from: float | None
    valid_until: float | None
    learned_at: float
    retracted: bool
    key: str | None
    source: Source | None
    confidence: Annotated[float, Field(ge=0, le=1)] | None
    forgotten_at: float | None

    def known(self) -> Fact:
        """Raises ``UsageError`` for what cannot be a name."""
        name_of("subject", self.subject)
        if self.forgotten_at is None:
            name_of("predicate", self.predicate)
        if self.key is not None:
            name_of("key", self.key, KEY_BYTES)
        if self.source is not None:
            name_of("source's conversation", self.source.conversation)
        canonical(self.value).encode()
        return Fact(**{name: getattr(self, name) for name in FactLine.model_fields if name != "type"})


class HoldLine(Line):
    """A hold, be it released or not."""

    type: Literal["hold"] = "hold"
    id: str
    subject: str
    reason: str
    placed_by: str
    placed_at: float
    released_by: str | None
    released_at: float | None

    def known(self) -> Hold:
        """Raises ``UsageError`` for what cannot be a name."""
        for what in ("id", "subject", "placed_by"):
            name_of(what, getattr(self, what))
        text_of("reason", self.reason)
        text_of("released_by", self.released_by)
        return Hold(**self.model_dump(exclude={"type"}))


class ReceiptLine(Line):
    """A receipt, as it is."""

    type: Literal["receipt"] = "receipt"
    id: str
    subject: str
    reason: str
    forgotten_by: str
    begun_at: float
    ended_at: float | None
    removed: dict[str, Annotated[int, Field(ge=0)]]
    digest: str | None

    def known(self) -> Receipt:
        """Raises ``UsageError`` for what cannot be a name."""
        for what in ("id", "subject", "forgotten_by"):
            name_of(what, getattr(self, what))
        text_of("reason", self.reason)
        text_of("digest", self.digest)
        canonical(self.removed).encode()
        return Receipt(**self.model_dump(exclude={"type"}))


@dataclass
class Batch:
    """What is carried in one transaction: of facts, those of one subject."""

    items: list[Known] = field(default_factory=list)

    def takes(self, item: Known, limit: int) -> bool:
        """Whether it belongs with the others."""
        return len(self.items) < limit and _whose(self.items[-1]) == _whose(item)


def kind_of(item: Known) -> str:
    """As a line is called."""
    return "item" if isinstance(item, ItemCopy) else type(item).__name__.lower()


def _whose(item: Known) -> tuple[str, str | None]:
    return kind_of(item), None if isinstance(item, ItemCopy) else item.subject


def known_line(item: Fact | Hold | Receipt) -> str:
    """The line of a fact, a hold or a receipt."""
    return canonical({"type": kind_of(item), **asdict(item)})
