"""What a router may answer, as far as its return annotation tells."""

from __future__ import annotations

import enum
import typing
from typing import Any, get_args, get_origin

from vertebra.graphs.annotations import alternatives


def declared_answers(router: Any) -> tuple[Any, ...]:
    """Every answer that the annotation names: members of ``Literal``, ``bool``, an ``Enum`` or ``None``."""
    return _answers(_returned_type(router))


def answers_several(router: Any) -> bool:
    """Whether the annotation has it answer with a list, so that several targets can follow at once."""
    return any(get_origin(part) in (list, tuple) for part in alternatives(_returned_type(router)))


def _returned_type(router: Any) -> Any:
    hint = getattr(router, "__annotations__", {}).get("return")
    if not isinstance(hint, str):
        return hint  # as nearly always; a name inside of it makes no difference to its form
    try:
        return typing.get_type_hints(router).get("return")
    except (NameError, TypeError):
        return None


def _answers(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is typing.Literal:
        return get_args(hint)
    if hint is bool:
        return (True, False)
    if hint is type(None):
        return (None,)
    if isinstance(hint, enum.EnumMeta):
        return tuple(hint)
    return tuple(answer for argument in get_args(hint) for answer in _answers(argument))
