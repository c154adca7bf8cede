"""From a definition to LangGraph: channels, nodes, and edges that cannot fail.

A router never runs inside LangGraph's own conditional edge, where an exception would end the thread
silently: the node's wrapper asks the router and writes the route into a reserved channel with the
node's update; the compiled edge only reads it. Loop counts, and what is said to memory, are kept the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from vertebra.graphs.annotations import Reducer
from vertebra.graphs.definition import Choice, Definition, FanOut
from vertebra.types import START

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

ROUTE = "vertebra.route"
LOOPS = "vertebra.loops"
OUTBOX = "vertebra.outbox"
RESERVED_CHANNELS = frozenset({ROUTE, LOOPS, OUTBOX})
ENTRY = "vertebra.entry"
ITEM = "vertebra.item"
INDEX = "vertebra.index"

Wrap = Callable[[Definition, str], Callable[..., Any]]
"""Given a definition and a node's name, the async function that LangGraph will call."""


def merge(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """The reducer of the reserved channels: each source node has a key of its own."""
    return {**(old or {}), **new}


def build(definition: Definition, wrap: Wrap) -> StateGraph[Any, Any, Any, Any]:
    """The LangGraph builder that executes ``definition``."""
    from langgraph.graph import StateGraph

    public, internal = _channels(definition)
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(internal, input_schema=public, output_schema=public)
    for name, spec in definition.nodes.items():
        builder.add_node(name, wrap(definition, name), metadata=dict(spec.metadata))
    entry = START
    if any(choice.source == START for choice in definition.choices):
        entry = ENTRY
        builder.add_node(ENTRY, wrap(definition, ENTRY))
        builder.add_edge(START, ENTRY)
    for source, target in definition.edges:
        builder.add_edge(entry if source == START else source, target)
    for sources, target in definition.joins:
        builder.add_edge(list(sources), target)
    for key, choice in zip(choice_keys(definition.choices), definition.choices, strict=True):
        source = entry if choice.source == START else choice.source
        builder.add_conditional_edges(source, _routed(key), list(choice.targets))
    for fan in definition.fan_outs:
        after = definition.static_targets(fan.worker)
        source = entry if fan.source == START else fan.source
        builder.add_conditional_edges(source, _spread(fan, after), [fan.worker, *after])
    return builder


def _channels(definition: Definition) -> tuple[type[Any], type[Any]]:
    fields = {
        name: Annotated[field.annotation, _plain(field.reducer)] if field.reducer else field.annotation
        for name, field in definition.schema.fields.items()
    }
    from langgraph.channels import Topic

    reserved: dict[str, Any] = dict.fromkeys((LOOPS, ROUTE), Annotated[dict[str, Any], merge])
    reserved[OUTBOX] = Annotated[Any, Topic(dict)]  # what the last superstep appended to memory, and no more
    name = definition.schema.declared.__name__
    typed_dict: Any = TypedDict
    public: type[Any] = typed_dict(name, fields, total=False)
    internal: type[Any] = typed_dict(f"{name}Channels", {**fields, **reserved}, total=False)
    return public, internal


def _plain(reducer: Reducer) -> Reducer:
    """LangGraph takes a reducer only if its signature can be read and has two parameters: not ``max``."""

    def reduce(old: Any, new: Any) -> Any:
        return reducer(old, new)

    return reduce


def choice_keys(choices: Sequence[Choice]) -> list[str]:
    """The key of each conditional edge set in the reserved channels: its source, and which of that source's it is.

    Sets of other nodes may come and go under a thread that counts: they do not shift the keys.
    """
    keys, used = [], Counter[str]()
    for choice in choices:
        keys.append(f"{choice.source}/{used[choice.source]}")
        used[choice.source] += 1
    return keys


def counted(loops: Mapping[str, Any], choices: Sequence[Choice], number: int) -> Any:
    """The count that a thread keeps for a conditional edge set, or None.

    The threads of 0.1.0 have keys that are numbered over the whole graph (``draft?3``). Such a count is found
    by the source where that has one set only; otherwise by the number, as then.
    """
    key, source = choice_keys(choices)[number], choices[number].source
    if key in loops:
        return loops[key]
    if sum(choice.source == source for choice in choices) > 1:
        return loops.get(f"{source}?{number}")
    old = [name for name in loops if name.startswith(f"{source}?") and name.removeprefix(f"{source}?").isdecimal()]
    return loops[old[0]] if old else None


def _routed(key: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def route(state: Mapping[str, Any]) -> list[str]:
        return list(state.get(ROUTE, {}).get(key, ()))

    route.__name__ = key
    return route


def _spread(fan: FanOut, after: list[str]) -> Callable[[Mapping[str, Any]], list[Any]]:
    from langgraph.types import Send

    def spread(state: Mapping[str, Any]) -> list[Any]:
        items = state.get(fan.over) or ()
        if not items:
            return list(after)
        return [Send(fan.worker, {ITEM: item, INDEX: index}) for index, item in enumerate(items)]

    spread.__name__ = f"{fan.source}*{fan.worker}"
    return spread
