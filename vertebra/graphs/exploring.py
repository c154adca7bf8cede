"""Which nodes of a definition may run at once: its edges, fan-outs, choices and joins, explored by ``topology``."""

from __future__ import annotations

from vertebra.graphs import topology
from vertebra.graphs.answers import answers_several
from vertebra.graphs.definition import Definition
from vertebra.types import START


def explore(definition: Definition, *, several: bool) -> topology.Explored[str]:
    """Every run, superstep by superstep. Of a choice one target follows.

    ``several``: or all at once, where its router may answer with a list.
    """
    always: dict[str, list[str]] = {}
    choices: dict[str, list[tuple[str, ...]]] = {}
    for source, target in definition.edges:
        always.setdefault(source, []).append(target)
    for fan in definition.fan_outs:
        choices.setdefault(fan.source, []).append((fan.worker, *definition.static_targets(fan.worker)))
    routers = {id(choice.router): choice.router for choice in definition.choices} if several else {}
    lists = {known for known, router in routers.items() if answers_several(router)}
    for choice in definition.choices:
        if id(choice.router) in lists:
            always.setdefault(choice.source, []).extend(choice.targets)
        else:
            choices.setdefault(choice.source, []).append(choice.targets)
    joins = [(frozenset(sources), target) for sources, target in definition.joins]
    return topology.frontiers(always, choices, joins, START)
