"""The shape of a graph as plain data: fingerprinted, stored with each thread, compared when it changes.

In it is what a thread in flight depends on: nodes, kinds, edges, fields, answers. Not in it: the
code of nodes, routers, retries, time limits and loop bounds, which may be mended under a thread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vertebra.graphs.annotations import type_name
from vertebra.graphs.definition import Definition


def shape(definition: Definition) -> dict[str, Any]:
    """The shape, in canonical order."""
    return {
        "name": definition.name,
        "version": definition.version,
        "state": dict(sorted(definition.schema.describe().items())),
        "nodes": {name: _node(definition, name) for name in sorted(definition.nodes)},
        "edges": sorted(f"{source} -> {target}" for source, target in definition.edges),
        # In the order of their declaration: LangGraph names the channel of a join by it.
        "joins": sorted(f"{' + '.join(sources)} -> {target}" for sources, target in definition.joins),
        "choices": sorted(
            f"{choice.source} ? {key} -> {target}"
            for choice in definition.choices
            for key, target in [*choice.mapping.items(), *_exhausted(choice.on_exhausted)]
        ),
        "fan_outs": sorted(f"{fan.source} => {fan.worker} over {fan.over}" for fan in definition.fan_outs),
    }


def _exhausted(node: str | None) -> list[tuple[str, str]]:
    return [] if node is None else [("(exhausted)", node)]


def _node(definition: Definition, name: str) -> Any:
    spec = definition.nodes[name]
    if spec.kind == "subgraph":
        return {"kind": "subgraph", "graph": shape(definition.subgraphs[name].definition)}
    described: dict[str, str] = {"kind": spec.kind}
    if spec.answer is not None:
        described["answer"] = type_name(spec.answer)
        described["into"] = spec.into or ""
    if spec.fallback:
        described["fallback"] = spec.fallback
    return described


def fingerprint(described: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a shape, 16 hex digits."""
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(old: Mapping[str, Any], new: Mapping[str, Any], place: str = "") -> list[str]:
    """What changed from ``old`` to ``new``, a line each: ``+`` came, ``-`` went, ``~`` changed."""
    lines: list[str] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        where = f"{place}.{key}" if place else str(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines.extend(difference(before, after, where))
        elif isinstance(before, list) and isinstance(after, list):
            lines.extend(f"- {where}: {item}" for item in before if item not in after)
            lines.extend(f"+ {where}: {item}" for item in after if item not in before)
        elif before is None:
            lines.append(f"+ {where}: {_short(after)}")
        elif after is None:
            lines.append(f"- {where}: {_short(before)}")
        else:
            lines.append(f"~ {where}: {_short(before)} -> {_short(after)}")
    return lines


def _short(value: Any) -> str:
    return str(value.get("kind", "...")) if isinstance(value, Mapping) else str(value)
