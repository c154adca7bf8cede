"""Static checks of data flow: which fields are spread, written, answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from vertebra.graphs import places, topology
from vertebra.graphs.definition import Definition
from vertebra.graphs.exploring import explore
from vertebra.graphs.flow_checks import error, warning
from vertebra.graphs.writes import fields_of_type, written_fields
from vertebra.types import Finding


def fan_out_fields(definition: Definition) -> Iterator[Finding]:
    for fan in definition.fan_outs:
        place = places.fan_out(fan.source, fan.worker)
        field = definition.schema.fields.get(fan.over)
        if field is None:
            yield error("unknown_field", place, f"the state has no field {fan.over!r}.", "name a field of the state.")
        elif not _is_sequence(field.annotation):
            yield error(
                "not_a_sequence", place, f"field {fan.over!r} is {field.type_name()}.", "fan out over a list or tuple."
            )


def _is_sequence(annotation: Any) -> bool:
    """Whether it is a list or tuple, perhaps with constraints, perhaps or None."""
    origin = get_origin(annotation)
    if origin is None:
        return annotation in (list, tuple, Any)
    if origin in (list, tuple):
        return True
    return any(_is_sequence(argument) for argument in get_args(annotation))


def parallel_writes(definition: Definition) -> Iterator[Finding]:
    explored = explore(definition, several=True)
    pairs = topology.pairs(explored.active)
    looked_at = {name for pair in pairs for name in pair} | {fan.worker for fan in definition.fan_outs}
    # Reading the source of a node takes longer than all the rest: only where it matters.
    writes = {name: written_fields(definition, name) for name in definition.nodes if name in looked_at}
    plain = {name for name, field in definition.schema.fields.items() if field.reducer is None}
    for fan in definition.fan_outs:
        for field in sorted(writes.get(fan.worker, set()) & plain):
            yield _parallel(field, f"{fan.worker} (each item of {fan.over})", [fan.worker])
    for pair in sorted(sorted(pair) for pair in pairs):
        one, two = pair
        for field in sorted(writes.get(one, set()) & writes.get(two, set()) & plain):
            yield _parallel(field, f"{one} and {two}", pair)
    for target in sorted(explored.starved):
        yield warning(
            "join_may_starve",
            target,
            "on some path not all that it waits for run, and the run ends without it.",
            "let every path lead to all of them, or join with one edge from each.",
        )
    if not explored.complete:
        yield warning(
            "not_all_explored",
            definition.name,
            "there are too many combinations of parallel branches to look at all of them.",
            "give reducers to fields that parallel branches write; a clash is refused when it happens.",
        )


def _parallel(field: str, place: str, nodes: list[str]) -> Finding:
    return error(
        "parallel_writers",
        place,
        f"field {field!r} can be written twice in one superstep and has no reducer.",
        f"declare {field!r} as Append[T] or Annotated[T, reducer], or let one node write it.",
        nodes,
    )


def declared_writes(definition: Definition) -> Iterator[Finding]:
    for spec in definition.nodes.values():
        for field in spec.writes or ():
            if field not in definition.schema.fields:
                yield error("unknown_field", spec.name, f"the state has no field {field!r}.", "mend writes=.")


def questions(definition: Definition) -> Iterator[Finding]:
    for spec in definition.nodes.values():
        if spec.kind != "human":
            continue
        count = len(fields_of_type(definition, spec))
        if spec.into is not None and spec.into not in definition.schema.fields:
            yield error("unknown_field", spec.name, f"the state has no field {spec.into!r}.", "name a field in into=.")
        elif spec.into is None and count != 1:
            yield error(
                "answer_without_field",
                spec.name,
                f"{count or 'no'} field{'s' if count != 1 else ''} of the state can hold its answer.",
                "say which: @human(answer=..., into='field').",
            )
