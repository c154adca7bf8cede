"""The lines of an export that are items of LangGraph's store: each whole, with its times and its vectors.

The vectors come along, because a memory cannot make them again: what embeds them belongs to whoever opens the store.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from vertebra.errors import UsageError
from vertebra.memory.item_copies import ItemCopy
from vertebra.memory.known_lines import Line
from vertebra.memory.messages import canonical
from vertebra.memory.place import text_of


class ItemLine(Line):
    """An item, in the order in which they came; ``vectors``: 32-bit floats, little end first, in base64, by path."""

    type: Literal["item"] = "item"
    namespace: Annotated[tuple[str, ...], Field(min_length=1)]
    key: str
    value: dict[str, JsonValue]
    created_at: float
    updated_at: float
    ttl_minutes: float | None
    expires_at: float | None
    vectors: dict[str, str] = Field(default_factory=dict)

    def known(self) -> ItemCopy:
        """Raises ``UsageError`` for what LangGraph's store would not take, ``ValueError`` for no base64."""
        for label in self.namespace:
            if not text_of("label", label) or "." in label or self.namespace[0] == "langgraph":
                raise UsageError(f"{label!r} is no label of a namespace.", remedy="leave out periods.")
        text_of("key", self.key)
        for path in self.vectors:
            text_of("path", path)
        canonical(self.value).encode()
        vectors = {path: base64.b64decode(text, validate=True) for path, text in self.vectors.items()}
        if any(not vector or len(vector) % 4 for vector in vectors.values()):
            raise UsageError("This is no vector of 32-bit floats.", remedy="leave vectors out.")
        fields = {name: getattr(self, name) for name in ItemLine.model_fields if name not in ("type", "vectors")}
        return ItemCopy(**fields, vectors=vectors)


def item_line(item: ItemCopy) -> str:
    """The line of an item."""
    data: dict[str, Any] = {
        "type": "item",
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
        "ttl_minutes": item.ttl_minutes,
        "expires_at": item.expires_at,
    }
    if item.vectors:
        data["vectors"] = {path: base64.b64encode(vector).decode() for path, vector in item.vectors.items()}
    return canonical(data)
