"""One field of a state: its type, its reducer, and what becomes of the values it is given."""

from __future__ import annotations

import contextlib
import copy
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_origin

from pydantic import TypeAdapter

from vertebra.graphs.annotations import Reducer, bare, type_name

MISSING: Any = object()
"""Stands for the value of a field that has none yet."""


@dataclass(frozen=True)
class StateField:
    """A field: its name, its type without the reducer, the reducer, and what validates a whole value."""

    name: str
    annotation: Any
    reducer: Reducer | None
    adapter: TypeAdapter[Any]

    @cached_property
    def part_adapter(self) -> TypeAdapter[Any]:
        """For what a node returns, which is only a part where the field appends."""
        return TypeAdapter(bare(self.annotation)) if self.appends else self.adapter

    @property
    def _empty_type(self) -> Any:
        return get_origin(bare(self.annotation)) or bare(self.annotation)

    @property
    def appends(self) -> bool:
        return self.reducer is operator.add and self._empty_type is list

    def type_name(self) -> str:
        return type_name(self.annotation)

    def reduce(self, old: Any, new: Any) -> Any:
        """The value after ``new`` was written over ``old``, as the engine will have it."""
        if is_overwrite(new):
            return new.value
        if self.reducer is None:
            return new
        if old is MISSING:
            try:
                old = self._empty_type()
            except Exception:
                return new
        if self.appends:
            return self.reducer(old, new)
        # The engine will call it too: one that changes its arguments must not do so twice.
        return self.reducer(copy.deepcopy(old), copy.deepcopy(new))

    def given(self, value: Any) -> Any:
        """The value that input gives: coerced to the field's type, or such as its reducer makes one of it."""
        try:
            return self.adapter.validate_python(value)
        except Exception as error:
            if self.reducer is None:
                raise
            with contextlib.suppress(Exception):
                self.adapter.validate_python(self.reduce(MISSING, value))
                return value
            raise error from None


def is_overwrite(value: Any) -> bool:
    """Whether it is LangGraph's ``Overwrite``, which goes past the reducer; told by name, to stay light."""
    return type(value).__name__ == "Overwrite"
