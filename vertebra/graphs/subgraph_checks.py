"""Static checks where a graph is a node of another: its own findings, and whether their fields fit by name and type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vertebra.graphs.annotations import alternatives, bare
from vertebra.graphs.definition import Definition
from vertebra.graphs.fields import StateField
from vertebra.graphs.flow_checks import error, warning
from vertebra.types import Finding


def inside(definition: Definition) -> Iterator[Finding]:
    """What a subgraph's own checks find, waived or not."""
    for name, graph in definition.subgraphs.items():
        spec = definition.nodes[name]
        for finding in graph.check(waived=True):
            if finding.code == "llm_without_limit" and (spec.timeout_s is not None or spec.fallback is not None):
                continue  # the limit of the whole subgraph is one for each of its nodes
            if finding.code == "field_never_read" and finding.place.removeprefix("field ") in definition.schema.fields:
                continue  # it passes through
            yield replace(finding, place=f"{name}/{finding.place}")


def fields(definition: Definition) -> Iterator[Finding]:
    workers = {fan.worker for fan in definition.fan_outs}
    for name, graph in definition.subgraphs.items():
        outer, inner = definition.schema, graph.definition.schema
        shared = [field for field in inner.fields if field in outer.fields]
        if name not in workers:
            if not shared:
                yield error(
                    "subgraph_shares_nothing",
                    name,
                    "the subgraph's state has no field in common with this one: nothing goes in or out.",
                    "give the fields that pass the same name in both states.",
                )
            else:
                yield from _missing(definition, name)
        for field in shared:
            yield from _differing(name, outer.fields[field], inner.fields[field], goes_in=name not in workers)


def _missing(definition: Definition, name: str) -> Iterator[Finding]:
    inner = definition.subgraphs[name].definition.schema
    if inner.kind == "typeddict":
        return
    for field in inner.fields:
        if field not in definition.schema.fields and field not in inner.defaulted:
            yield error(
                "subgraph_field_missing",
                name,
                f"the subgraph needs field {field!r}, which this state does not have.",
                f"add {field!r} to the outer state, or give it a default in the inner one.",
            )


def _differing(name: str, outer: StateField, inner: StateField, *, goes_in: bool) -> Iterator[Finding]:
    into = goes_in and (outer.reducer is None or inner.appends)
    if (into and not fits(outer.annotation, inner.annotation)) or not fits(inner.annotation, outer.annotation):
        yield warning(
            "subgraph_field_differs",
            name,
            f"field {outer.name!r} is {outer.type_name()} here and {inner.type_name()} in the subgraph.",
            "declare it alike in both states, or under another name in one of them.",
        )


def fits(given: Any, wanted: Any) -> bool:
    """Whether every value of one annotation is one of another, as far as their forms tell."""
    known = [bare(each) for each in alternatives(bare(wanted))]
    return Any in known or all(_one_fits(bare(each), known) for each in alternatives(bare(given)))


def _one_fits(given: Any, known: list[Any]) -> bool:
    if given is Any or given in known or (given is int and float in known):
        return True
    return isinstance(given, type) and any(isinstance(each, type) and issubclass(given, each) for each in known)
