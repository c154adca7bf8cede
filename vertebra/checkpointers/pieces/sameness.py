"""Whether a message is for certain what it was, without a look at its bytes.

A message can be changed in place, so that the same object need not be the same value. But it is, if all that it refers
to is still the same objects, down to texts and numbers, which nobody can change: a tenth of the time of its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, eq, is_
from typing import Any

from langchain_core import messages

FROZEN = frozenset({str, bytes, int, float, bool, type(None)})
"""Types of which the same object is always the same value."""

MESSAGES = frozenset(
    {
        messages.AIMessage,
        messages.ChatMessage,
        messages.HumanMessage,
        messages.RemoveMessage,
        messages.SystemMessage,
        messages.ToolMessage,
    }
)
"""The serializer writes their fields and nothing else, which is not known of other models."""


PARTS = 32  # lists and dicts of one message that are looked at; also of one that contains itself


class Sameness:
    """What a message held when this was made. It is kept alive, so that nothing new takes its place in memory."""

    __slots__ = ("content", "fields", "sizes", "views")

    def __init__(self, fields: dict[str, Any], views: list[Any]) -> None:
        self.fields = fields
        self.views = tuple(views)  # of what may change, as it is at any time
        self.sizes = tuple(map(len, views))
        self.content = tuple(chain.from_iterable(views))


def sameness(value: Any) -> Sameness | None:
    """None for what it cannot be told of."""
    if type(value) not in MESSAGES or value.__pydantic_extra__:
        return None
    fields = value.__dict__
    views: list[Any] = [fields.values()]
    for view in views:  # which grows
        for part in view:
            kind = type(part)
            if kind is list:
                views.append(part)
            elif kind is dict:
                views += (part.keys(), part.values())
            elif kind not in FROZEN:
                return None
        if len(views) > PARTS:
            return None
    return Sameness(fields, views)


def are_same(messages: Sequence[Any], before: Sequence[Sameness]) -> bool:
    """Whether the very messages that these were made of are what they were; a long list takes no loop in Python."""
    return (
        all(map(is_, map(_FIELDS_NOW, messages), map(_FIELDS, before)))
        and not any(map(_EXTRA, messages))
        and all(map(eq, map(len, _each(map(_VIEWS, before))), _each(map(_SIZES, before))))
        and all(map(is_, _each(_each(map(_VIEWS, before))), _each(map(_CONTENT, before))))
    )


_each = chain.from_iterable
_FIELDS_NOW, _EXTRA = attrgetter("__dict__"), attrgetter("__pydantic_extra__")
_FIELDS, _VIEWS, _SIZES, _CONTENT = map(attrgetter, ("fields", "views", "sizes", "content"))
