"""The schema of a state: its fields, their reducers, and the validation of what nodes return."""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from vertebra.errors import InvalidInput, InvalidUpdate, UsageError
from vertebra.graphs.annotations import Reducer, hints_of, model_fields, name_of, split_reducer
from vertebra.graphs.annotations import collect_types as collect_types
from vertebra.graphs.fields import MISSING, StateField, is_overwrite

T = TypeVar("T")
Append = Annotated[list[T], operator.add]
"""A list that parallel branches append to: a node returns the new items as a list."""

Kind = Literal["pydantic", "typeddict", "dataclass"]


class StateSchema:
    """A pydantic model, a TypedDict or a dataclass, read as channels."""

    def __init__(self, declared: type[Any]) -> None:
        self.declared = declared
        self.kind: Kind = _kind(declared)
        self.fields: dict[str, StateField] = {f.name: f for f in self._read_fields()}
        if not self.fields:
            raise UsageError(f"State {declared.__name__} has no fields.", remedy="declare at least one field.")

    def _read_fields(self) -> Iterator[StateField]:
        for name, hint in self._hints().items():
            annotation, reducer = split_reducer(hint)
            yield self._field(name, annotation, reducer)

    def _hints(self) -> dict[str, Any]:
        if self.kind == "pydantic":
            return dict(self._model_hints())
        hints = hints_of(self.declared)
        if self.kind == "dataclass":
            return {f.name: hints[f.name] for f in dataclasses.fields(self.declared) if f.init}
        return hints

    def _model_hints(self) -> Iterator[tuple[str, Any]]:
        for name, info in model_fields(self.declared).items():
            if info.validation_alias is not None and not _by_name(self.declared):
                raise UsageError(
                    f"Field {name!r} of state {self.declared.__name__} goes by an alias; nodes return it by name.",
                    remedy="set model_config = ConfigDict(populate_by_name=True), or remove the alias.",
                )
            # Pydantic has resolved names that only its author's function knows, and Field(gt=0) lives here alone.
            yield name, Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation

    def _field(self, name: str, annotation: Any, reducer: Reducer | None) -> StateField:
        try:
            return StateField(name, annotation, reducer, TypeAdapter(annotation))
        except PydanticUserError as error:
            raise UsageError(
                f"Field {name!r} of state {self.declared.__name__} cannot be validated: {error.message}",
                remedy="use types that pydantic knows: models, dataclasses, typing_extensions.TypedDict, plain data.",
            ) from error

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.declared)

    def hydrate(self, values: Mapping[str, Any]) -> Any:
        """What a node receives: an instance of the declared type (a dict for a TypedDict).

        It is the node's own copy: what a node changes in place is seen by no other and by no retry.
        """
        known = copy.deepcopy(self._known(values))
        return known if self.kind == "typeddict" else self._adapter.validate_python(known)

    def _known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name in self.fields}

    def output(self, values: Mapping[str, Any]) -> Any:
        """``hydrate``, or the plain dict while required fields are missing."""
        try:
            return self.hydrate(values)
        except ValidationError:
            return self._known(values)

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
        clean: dict[str, Any] = {}
        for name, value in values.items():
            try:
                clean[name] = self.fields[name].given(value)
            except Exception as error:
                raise self._bad_input(name, error) from error
        if fresh:
            try:
                self.hydrate(self.apply({}, clean))
            except ValidationError as error:
                raise self._bad_input(_first_field(error), error) from error
        return clean

    def with_defaults(self, values: Mapping[str, Any], *, but: Collection[str] = ()) -> dict[str, Any]:
        """Channel values for a first checkpoint: a default is made once, and is what its reducer begins with.

        ``but``: fields that are left as they are. A TypedDict has no defaults.
        """
        missing = [name for name in self.fields if name not in values and name not in but]
        if self.kind == "typeddict" or not missing:
            return dict(values)
        state = self.hydrate(self.apply({}, values))
        return {**values, **{name: getattr(state, name) for name in missing}}

    @property
    def defaulted(self) -> frozenset[str]:
        """The fields that have a default."""
        if self.kind == "pydantic":
            return frozenset(n for n, info in model_fields(self.declared).items() if not info.is_required())
        if self.kind == "dataclass":
            made = (f for f in dataclasses.fields(self.declared) if f.init)
            missing = dataclasses.MISSING
            return frozenset(f.name for f in made if f.default is not missing or f.default_factory is not missing)
        return frozenset()

    def _bad_input(self, field: str | None, error: Exception) -> InvalidInput:
        why = summary(error) if isinstance(error, ValidationError) else type(error).__name__
        return InvalidInput(
            f"Input does not fit field {field!r} of the state {self.declared.__name__}: {why}."
            if field
            else f"Input does not fit the state {self.declared.__name__}: {why}.",
            field=field,
        )

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
        self._validate_whole(values, clean, node)
        return clean

    def _validate_field(self, field: StateField, value: Any, values: Mapping[str, Any], node: str) -> Any:
        try:
            if is_overwrite(value):
                return type(value)(field.adapter.validate_python(value.value))
            if field.reducer is None or field.appends:
                return field.part_adapter.validate_python(value)
            field.adapter.validate_python(field.reduce(values.get(field.name, MISSING), value))
        except ValidationError as error:
            raise self._bad_update(node, field.name, error) from error
        except Exception as error:
            raise InvalidUpdate(
                f"The reducer of field {field.name!r} raised {type(error).__name__}: {error}.",
                node=node,
                field=field.name,
            ) from error
        return value

    def _validate_whole(self, values: Mapping[str, Any], clean: Mapping[str, Any], node: str) -> None:
        """Run the state's own validators, so that what the next node could not be handed is refused here."""
        if self.kind == "typeddict" or not clean:
            return
        try:
            self._adapter.validate_python(self._known(self.apply(values, clean)))
        except ValidationError as error:
            place = _first_field(error) or "state"
            # A fan-out worker knows its item, not the state: only its own fields can be judged.
            if values or place in clean:
                raise self._bad_update(node, place, error) from error

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
                after[name] = self.fields[name].reduce(values.get(name, MISSING), value)
        return after

    def _as_mapping(self, value: Any, *, only_set: bool = False) -> dict[str, Any] | None:
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, BaseModel):
            names = value.model_fields_set if only_set else type(value).model_fields
            return {name: getattr(value, name) for name in names}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
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
            name: field.type_name() + (f" <- {name_of(field.reducer)}" if field.reducer else "")
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


def _first_field(error: ValidationError) -> str | None:
    location = error.errors(include_input=False, include_url=False)[0]["loc"]
    return str(location[0]) if location else None


def _by_name(model: type[BaseModel]) -> bool:
    return bool(model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"))
