"""Running a graph as a node of another: what goes in, what comes out.

Fields of the same name pass both ways. A field that appends in both goes in as it is, and only what
the subgraph added comes out; otherwise the parent's reducer would add the old items once more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from vertebra.graphs.definition import Definition

if TYPE_CHECKING:
    from vertebra.runtime.node_runner import NodeRunner


class Subgraph:
    """A compiled subgraph with the definition it came from."""

    def __init__(self, definition: Definition, compiled: Any) -> None:
        self.definition = definition
        self.compiled = compiled


async def run_subgraph(inner: Subgraph, given: Any, runner: NodeRunner, config: Any) -> dict[str, Any]:
    """Drive the subgraph to its end within the parent's run; returns the parent's update."""
    outer_fields = runner.schema.fields
    inner_fields = inner.definition.schema.fields
    values = _mapping(given)
    shared = {
        name: value
        for name, value in values.items()
        if name in inner_fields
        and (name not in outer_fields or outer_fields[name].reducer is None or inner_fields[name].appends)
    }
    schema = inner.definition.schema
    start = schema.with_defaults(schema.read_input(shared, fresh=True), but=outer_fields)
    result = await inner.compiled.ainvoke(start, config)
    update = {}
    for name, value in dict(result).items():
        field = outer_fields.get(name)
        if field is None:
            continue
        if field.appends and inner_fields[name].appends and name in shared:
            value = value[len(shared[name]) :]
        elif field.reducer is None and name in shared and value == shared[name]:
            continue  # untouched: a parallel sibling may write it
        update[name] = value
    return update


def _mapping(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, BaseModel):
        return {name: getattr(given, name) for name in type(given).model_fields}
    if dataclasses.is_dataclass(given):
        return {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    return dict(vars(given)) if hasattr(given, "__dict__") else {}
