"""Applying the declared migrations of a graph to the values of a thread's state. Pure, but for their author's code."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from vertebra.errors import InvalidInput, MigrationFailed
from vertebra.graphs.ahead import Parts, Position, join_text
from vertebra.graphs.definition import Definition, Migration
from vertebra.graphs.state import StateSchema, summary
from vertebra.types import START, Standing


@dataclass(frozen=True)
class Migrated:
    """The values that a thread has from now on, and what the nodes that it stood before are called."""

    values: dict[str, Any]
    nodes: dict[str, str]


def migrated(definition: Definition, values: Mapping[str, Any], standing: Standing, *, begun: bool) -> Migrated:
    """Apply every migration from the thread's version on. Raises ``MigrationFailed``.

    ``begun``: the values are a state, not the input of a run that has yet to begin.
    """
    values = dict(values)
    nodes: dict[str, str] = {}
    for version, migration in _chain(definition, standing.version):
        standing = replace(standing, version=version)
        values, renamed = _applied(migration, values, standing)
        old_names = {name for name in renamed if name not in nodes.values()}
        nodes = {old: renamed.get(new, new) for old, new in nodes.items()} | {n: renamed[n] for n in old_names}
        standing = replace(standing, next=tuple(renamed.get(name, name) for name in standing.next))
    checked = _state(definition.schema, values, standing) if begun else _input(definition.schema, values, standing)
    return Migrated(checked, {old: new for old, new in nodes.items() if old != new})


def _chain(definition: Definition, version: str) -> list[tuple[str, Migration]]:
    versions = list(definition.migrations)
    return [(v, definition.migrations[v]) for v in versions[versions.index(version) :]]


def _applied(
    migration: Migration, values: Mapping[str, Any], standing: Standing
) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        given = migration(copy.deepcopy(dict(values)), standing)
    except Exception as error:
        raise _failed(standing, f"raised {type(error).__name__}: {error}") from error
    result, renamed = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
    if not isinstance(result, Mapping) or not isinstance(renamed, Mapping):
        raise _failed(standing, f"returned {type(given).__name__}, not values or (values, names of nodes)")
    return dict(result), {str(old): str(new) for old, new in renamed.items()}


def _failed(standing: Standing, why: str) -> MigrationFailed:
    return MigrationFailed(
        f"The migration of thread {standing.thread_id!r} from version {standing.version!r} {why}.",
        thread=standing.thread_id,
    )


def _state(schema: StateSchema, values: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
    """Whole values of channels, each as its type has it, with the defaults of those that are missing."""
    clean = {}
    for name, value in values.items():
        if name not in schema.fields:
            raise _failed(standing, f"gave a field {name!r} that the state {schema.declared.__name__} does not have")
        try:
            clean[name] = schema.fields[name].adapter.validate_python(value)
        except ValidationError as error:
            raise _failed(standing, f"gave a field {name!r} that does not fit: {summary(error)}") from error
    try:
        state = schema.hydrate(clean)
    except ValidationError as error:
        raise _failed(standing, f"gave a state that does not fit: {summary(error)}") from error
    missing = () if schema.kind == "typeddict" else [name for name in schema.fields if name not in clean]
    return {**clean, **{name: getattr(state, name) for name in missing}}


def _input(schema: StateSchema, values: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
    try:
        return schema.with_defaults(schema.read_input(values, fresh=True))
    except InvalidInput as error:
        raise _failed(standing, f"gave an input that does not fit: {error.message}") from error


def dead_ends(parts: Parts, position: Position, known: Collection[str]) -> list[str]:
    """Why a thread could not go on from a position: nodes that are not there, joins that would wait for ever."""
    gone = sorted(position.next - {START, *known})
    lines = [f"there is no node {name!r}" for name in gone]
    ahead = parts.ahead(position.next - set(gone))
    for join in parts.joins:
        fed = join[0] & ahead
        waits = join[0] - fed - position.arrived.get(join, frozenset())
        if fed and waits:
            names = ", ".join(sorted(waits))
            lines.append(f"the join {join_text(join)} would wait for {names}, which has run or never will")
    return lines
