"""What annotations say of types, and routers of their answers."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, Optional

import pytest
from typing_extensions import ReadOnly

from vertebra.graphs.annotations import split_reducer, type_name
from vertebra.graphs.answers import answers_several, declared_answers


class Slice:
    pass


class Merge:
    def __call__(self, old: int, new: int) -> int:
        return old + new


class Checked:
    """A callable annotation that is no reducer."""

    def __call__(self, value: int) -> int:
        return value


MERGE, CHECKED = Merge(), Checked()


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Slice, "Slice"),
        (list[Slice], "list[Slice]"),
        (Slice | None, "Slice | None"),
        (Optional[dict[str, Slice]], "dict[str, Slice] | None"),  # noqa: UP045
        (Annotated[list[int], "constraint"], "list[int]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Callable[[Slice], int], "Callable[[Slice], int]"),
        (Any, "Any"),
        (None, "None"),
    ],
)
def test_a_type_reads_the_same_wherever_its_classes_live(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


@pytest.mark.parametrize(
    ("hint", "annotation", "reducer"),
    [
        (int, int, None),
        (Annotated[int, max], int, max),
        (Annotated[int, "unit", max], Annotated[int, "unit"], max),
        (Annotated[int, max, "unit"], Annotated[int, "unit"], max),
        (Annotated[int, min, max], Annotated[int, min], max),
        (Annotated[int, MERGE], int, MERGE),
        (Annotated[int, CHECKED], Annotated[int, CHECKED], None),
        (Annotated[int, int], Annotated[int, int], None),
        (ReadOnly[NotRequired[Annotated[int, max]]], int, max),
    ],
)
def test_the_reducer_is_the_last_function_of_two(hint: Any, annotation: Any, reducer: Any) -> None:
    assert split_reducer(hint) == (annotation, reducer)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def literal(state: Any) -> Literal["a", "b"]: ...
def optional(state: Any) -> Literal["a"] | None: ...
def several(state: Any) -> list[Literal["a", "b"]]: ...
def yes_or_no(state: Any) -> bool: ...
def coloured(state: Any) -> Colour: ...
def text(state: Any) -> str: ...
def nowhere(state: Any) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("router", "answers", "at_once"),
    [
        (literal, ("a", "b"), False),
        (optional, ("a", None), False),
        (several, ("a", "b"), True),
        (yes_or_no, (True, False), False),
        (coloured, (Colour.RED, Colour.BLUE), False),
        (text, (), False),
        (nowhere, (), False),
        (functools.partial(literal), (), False),
        (lambda state: "a", (), False),
    ],
)
def test_a_router_declares_its_answers(router: Any, answers: tuple[Any, ...], at_once: bool) -> None:
    assert declared_answers(router) == answers
    assert answers_several(router) == at_once
