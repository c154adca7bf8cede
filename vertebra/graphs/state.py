"""The schema of a state: its fields, their reducers, and the validation of what nodes return."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from vertebra.errors import InvalidInput, InvalidUpdate, UsageError

T = TypeVar("T")
Append = Annotated[list[T], operator.add]
"""A list that parallel branches append to: a node returns the new items as a list."""

Kind = Literal["pydantic", "typeddict", "dataclass"]
MISSING: Any = object()


@dataclass(frozen=True)
class StateField:
    """One field: its type without the reducer, the reducer, and whether input must give it."""

    name: str
    annotation: Any
    reducer: Callable[[Any, Any], Any] | None
    required: bool

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation)

    @property
    def appends(self) -> bool:
        return self.reducer is operator.add and (get_origin(_bare(self.annotation)) or self.annotation) is list

    def type_name(self) -> str:
        bare = _bare(self.annotation)
        return bare.__name__ if isinstance(bare, type) and not get_args(bare) else str(bare).replace("typing.", "")


class StateSchema:
    """A pydantic model, a TypedDict or a dataclass, read as channels."""

    def __init__(self, declared: type[Any]) -> None:
        self.declared = declared
        self.kind: Kind = _kind(declared)
        self.fields: dict[str, StateField] = {f.name: f for f in self._read_fields()}
        if not self.fields:
            raise UsageError(f"State {declared.__name__} has no fields.", remedy="declare at least one field.")

    def _read_fields(self) -> Iterator[StateField]:
        try:
            hints = get_type_hints(self.declared, include_extras=True)
        except NameError as error:
            raise UsageError(
                f"The annotations of state {self.declared.__name__} cannot be resolved: {error}.",
                remedy="define the state at module level, or its types before it.",
            ) from error
        for name, hint in hints.items():
            if self.kind == "pydantic" and name not in self.declared.model_fields:
                continue
            annotation, reducer = _split_reducer(hint)
            if self.kind == "pydantic":
                # Constraints given as Field(gt=0) live on the field, not in the annotation.
                constraints = tuple(m for m in self.declared.model_fields[name].metadata if m is not reducer)
                if constraints:
                    annotation = Annotated[(_bare(annotation), *constraints)]
            yield StateField(name, annotation, reducer, self._is_required(name))

    def _is_required(self, name: str) -> bool:
        if self.kind == "pydantic":
            return bool(self.declared.model_fields[name].is_required())
        if self.kind == "typeddict":
            return False  # as in LangGraph: a TypedDict state may start partial
        spec = {f.name: f for f in dataclasses.fields(self.declared)}[name]
        return spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.declared)

    @cached_property
    def _checks_whole(self) -> bool:
        """Whether the model has validators over several fields, so that an update needs them run."""
        decorators = getattr(self.declared, "__pydantic_decorators__", None)
        return bool(decorators and (decorators.model_validators or decorators.root_validators))

    def hydrate(self, values: Mapping[str, Any]) -> Any:
        """What a node receives: an instance of the declared type (a dict for a TypedDict)."""
        known = {name: value for name, value in values.items() if name in self.fields}
        if self.kind == "typeddict":
            return known
        return self._adapter.validate_python(known)

    def output(self, values: Mapping[str, Any]) -> Any:
        """``hydrate``, or the plain dict while required fields are missing."""
        try:
            return self.hydrate(values)
        except ValidationError:
            return {name: value for name, value in values.items() if name in self.fields}

    def read_input(self, given: Any, *, fresh: bool) -> dict[str, Any]:
        """Channel values from what a caller passed to ``run``. Raises ``InvalidInput``.

        ``fresh``: the thread is new, so every required field must be there.
        """
        values = self._as_mapping(given)
        if values is None:
            raise InvalidInput(
                f"Input is {type(given).__name__}; the state {self.declared.__name__} needs a mapping or an instance.",
                remedy=f"pass a dict with the fields {', '.join(self.fields)}.",
            )
        unknown = sorted(set(values) - set(self.fields))
        if unknown:
            raise InvalidInput(
                f"Input has no place in the state {self.declared.__name__}: {', '.join(unknown)}.",
                remedy=f"use the fields {', '.join(self.fields)}.",
                field=unknown[0],
            )
        try:
            clean = {name: self.fields[name].adapter.validate_python(value) for name, value in values.items()}
            if fresh:
                self.hydrate(clean)
        except ValidationError as error:
            raise InvalidInput(
                f"Input does not fit the state {self.declared.__name__}: {summary(error)}.", field=_first_field(error)
            ) from error
        return clean

    def validate_update(self, update: Any, values: Mapping[str, Any], *, node: str) -> dict[str, Any]:
        """The update with values coerced to their types. Raises ``InvalidUpdate``."""
        if update is None:
            return {}
        mapping = self._as_mapping(update, only_set=True)
        if mapping is None:
            raise InvalidUpdate(
                f"Node {node!r} returned {type(update).__name__}; it must return a dict of state fields or None.",
                node=node,
            )
        clean: dict[str, Any] = {}
        for name, value in mapping.items():
            field = self.fields.get(name)
            if field is None:
                raise InvalidUpdate(
                    f"Node {node!r} returned a field {name!r} that the state {self.declared.__name__} does not have.",
                    node=node,
                    field=name,
                    remedy=f"return only {', '.join(self.fields)}, then resume the thread.",
                )
            clean[name] = self._validate_field(field, value, values, node)
        if self._checks_whole:
            try:
                self.hydrate(self.apply(values, clean))
            except ValidationError as error:
                raise self._bad_update(node, _first_field(error) or "state", error) from error
        return clean

    def _validate_field(self, field: StateField, value: Any, values: Mapping[str, Any], node: str) -> Any:
        if type(value).__name__ == "Overwrite":
            return value
        try:
            if field.reducer is None or field.appends:
                return field.adapter.validate_python(value)
            field.adapter.validate_python(_reduce(field, values.get(field.name, MISSING), value))
        except ValidationError as error:
            raise self._bad_update(node, field.name, error) from error
        except Exception as error:
            raise InvalidUpdate(
                f"The reducer of field {field.name!r} raised {type(error).__name__}: {error}.",
                node=node,
                field=field.name,
            ) from error
        return value

    def _bad_update(self, node: str, field: str, error: ValidationError) -> InvalidUpdate:
        return InvalidUpdate(
            f"Node {node!r} returned a value for field {field!r} that does not fit: {summary(error)}.",
            node=node,
            field=field,
        )

    def apply(self, values: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
        """The channel values after an update: reducers applied, as the engine will apply them."""
        after = dict(values)
        for name, value in update.items():
            if name in self.fields:
                after[name] = _reduce(self.fields[name], values.get(name, MISSING), value)
        return after

    def _as_mapping(self, value: Any, *, only_set: bool = False) -> dict[str, Any] | None:
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, BaseModel):
            names = value.model_fields_set if only_set else type(value).model_fields
            return {name: getattr(value, name) for name in names}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return None

    def types(self) -> set[type[Any]]:
        """Every class of the schema: the only ones that a checkpoint may bring back to life."""
        found: set[type[Any]] = set()
        for field in self.fields.values():
            collect_types(field.annotation, found)
        return found

    def describe(self) -> dict[str, str]:
        """Field names with their types as text, for fingerprints and messages."""
        return {
            name: field.type_name() + (f" <- {_reducer_name(field.reducer)}" if field.reducer else "")
            for name, field in self.fields.items()
        }


def summary(error: ValidationError) -> str:
    """A validation error in one line: places and reasons, never the values (they may be private)."""
    parts = [
        f"{'.'.join(str(p) for p in item['loc']) or 'value'}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    return "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")


def _kind(declared: Any) -> Kind:
    if isinstance(declared, type):
        if issubclass(declared, BaseModel):
            return "pydantic"
        if dataclasses.is_dataclass(declared):
            return "dataclass"
        if issubclass(declared, dict) and hasattr(declared, "__total__"):
            return "typeddict"
    raise UsageError(
        f"{declared!r} cannot be a state.", remedy="declare a pydantic BaseModel, a TypedDict or a dataclass."
    )


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _split_reducer(hint: Any) -> tuple[Any, Callable[[Any, Any], Any] | None]:
    """A callable of two arguments as the last annotation is the reducer, as in LangGraph."""
    if get_origin(hint) in _QUALIFIERS:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return hint, None
    base, *extras = get_args(hint)
    if extras and callable(extras[-1]) and not isinstance(extras[-1], type) and _takes_two(extras[-1]):
        reducer = extras.pop()
        return (Annotated[(base, *extras)] if extras else base), reducer
    return hint, None


def _takes_two(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    return len(required) <= 2 <= len(positional)


def _reduce(field: StateField, old: Any, new: Any) -> Any:
    if type(new).__name__ == "Overwrite":
        return new.value
    if field.reducer is None:
        return new
    if old is MISSING:
        try:
            old = (get_origin(_bare(field.annotation)) or _bare(field.annotation))()
        except Exception:
            return new
    return field.reducer(old, new)


def _reducer_name(reducer: Callable[..., Any]) -> str:
    return getattr(reducer, "__name__", type(reducer).__name__)


def _first_field(error: ValidationError) -> str | None:
    location = error.errors(include_input=False, include_url=False)[0]["loc"]
    return str(location[0]) if location else None


def _qualifiers() -> frozenset[Any]:
    import typing

    import typing_extensions

    names = ("Required", "NotRequired", "ReadOnly")
    return frozenset(getattr(m, n) for m in (typing, typing_extensions) for n in names if hasattr(m, n))


_QUALIFIERS = _qualifiers()


def collect_types(annotation: Any, found: set[type[Any]]) -> None:
    """Add every class that values of this annotation may be made of."""
    for argument in get_args(annotation):
        collect_types(argument, found)
    if not isinstance(annotation, type) or annotation in found:
        return
    if issubclass(annotation, BaseModel):
        found.add(annotation)
        for info in annotation.model_fields.values():
            collect_types(info.annotation, found)
    elif dataclasses.is_dataclass(annotation):
        found.add(annotation)
        for hint in get_type_hints(annotation).values():
            collect_types(hint, found)
    elif typing.is_typeddict(annotation):
        for hint in get_type_hints(annotation).values():
            collect_types(hint, found)
    elif annotation.__module__ != "builtins":
        found.add(annotation)
