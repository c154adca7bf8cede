"""What the annotations of a state say: the bare type, its reducer, its name, the classes in it."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vertebra.errors import UsageError

Reducer = Callable[[Any, Any], Any]
_QUALIFIERS = frozenset({typing.Required, typing.NotRequired, typing_extensions.ReadOnly})


def hints_of(declared: type[Any]) -> dict[str, Any]:
    """The resolved annotations of a class. Raises ``UsageError`` where a name in them means nothing."""
    try:
        return get_type_hints(declared, include_extras=True)
    except NameError as error:
        raise _unresolved(declared, error) from error


def model_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a pydantic model, resolved. Raises ``UsageError`` likewise."""
    try:
        model.model_rebuild()
    except NameError as error:
        raise _unresolved(model, error) from error
    return model.model_fields


def _unresolved(declared: type[Any], error: NameError) -> UsageError:
    return UsageError(
        f"The annotations of {declared.__name__} cannot be resolved: {error}.",
        remedy="define it at module level, or the types in it before it.",
    )


def bare(annotation: Any) -> Any:
    """The type without what ``Annotated`` adds to it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def split_reducer(hint: Any) -> tuple[Any, Reducer | None]:
    """The type and its reducer: the last function in ``Annotated``, as in LangGraph. Raises ``UsageError``."""
    while get_origin(hint) in _QUALIFIERS:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return hint, None
    base, *extras = get_args(hint)
    functions = [extra for extra in extras if inspect.isroutine(extra) or _is_callable_object(extra)]
    if not functions:
        return hint, None
    reducer = functions[-1]
    if not _takes_two(reducer):
        raise UsageError(
            f"{name_of(reducer)!r} in {type_name(base)!r} cannot be its reducer.",
            remedy="write it as a function of two arguments: the old value and the new one.",
        )
    others = [extra for extra in extras if extra is not reducer]
    return (Annotated[(base, *others)] if others else base), reducer


def _is_callable_object(extra: Any) -> bool:
    return callable(extra) and not isinstance(extra, type) and _takes_two(extra)


def _takes_two(function: Any) -> bool:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return True  # a builtin such as max does not tell
    try:
        signature.bind(None, None)
    except TypeError:
        return False
    return True


def name_of(function: Any) -> str:
    """The name of a function, or of the class of a callable object."""
    return str(getattr(function, "__name__", type(function).__name__))


def type_name(annotation: Any) -> str:
    """A type as text without modules, so that it reads the same from ``__main__`` and from an import."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{', '.join(map(type_name, annotation))}]"
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    name = str(getattr(origin or annotation, "__name__", annotation))
    return f"{name}[{', '.join(map(type_name, arguments))}]" if arguments else name


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def collect_types(annotation: Any, found: set[type[Any]]) -> None:
    """Add every class that values of this annotation may be made of, known subclasses of its models too."""
    for argument in get_args(annotation):
        collect_types(argument, found)
    if not isinstance(annotation, type) or annotation in found or annotation.__module__ == "builtins":
        return
    found.add(annotation)
    if annotation is BaseModel:
        return  # it would mean every model there is: not a list to be trusted
    parts: list[Any] = []
    if issubclass(annotation, BaseModel):
        parts = [info.annotation for info in model_fields(annotation).values()]
    elif dataclasses.is_dataclass(annotation) or typing_extensions.is_typeddict(annotation):
        parts = list(hints_of(annotation).values())
    if parts:
        parts += annotation.__subclasses__()
    for part in parts:
        collect_types(part, found)
