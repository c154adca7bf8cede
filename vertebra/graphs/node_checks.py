"""Static checks of single nodes: limits of model calls, keys of retried effects, questions in a fan-out."""

from __future__ import annotations

from collections.abc import Iterator

from vertebra.graphs.accesses import Accesses
from vertebra.graphs.definition import Definition
from vertebra.graphs.flow_checks import warning
from vertebra.types import Finding


def limits(definition: Definition) -> Iterator[Finding]:
    for spec in definition.nodes.values():
        if spec.kind == "llm" and spec.timeout_s is None and spec.fallback is None:
            yield warning(
                "llm_without_limit",
                spec.name,
                "a provider that never answers holds it for 600 s a request, and nothing stands in for it.",
                "declare timeout_s= or fallback=.",
            )


def idempotency(definition: Definition) -> Iterator[Finding]:
    known: Accesses | None = None
    for spec in definition.nodes.values():
        if spec.kind != "effect" or spec.retry.attempts == 1 or spec.check is not None:
            continue
        known = known or Accesses(definition)
        handed = {"ctx", "context"} & set(spec.parameters)
        if not handed or not known.mentions(spec.fn, "idempotency_key"):
            yield warning(
                "effect_without_key",
                spec.name,
                f"it is tried up to {spec.retry.attempts} times, and what failed may have been done all the same.",
                "pass ctx.idempotency_key on to the other system, or declare check=.",
            )


def questions_in_fan_outs(definition: Definition) -> Iterator[Finding]:
    for fan in definition.fan_outs:
        spec = definition.nodes.get(fan.worker)
        if spec is None:
            continue
        asking = [spec.name] if spec.kind == "human" else []
        if spec.name in definition.subgraphs:
            asking = [f"{spec.name}/{each}" for each in _humans(definition.subgraphs[spec.name].definition)]
        for place in asking:
            yield warning(
                "interrupt_in_fan_out",
                place,
                f"it asks once for each item of {fan.over!r}: all these questions wait at once, and nothing goes on "
                "until the last is answered.",
                "ask once, after the join; or answer each by its interrupt_id.",
            )


def _humans(definition: Definition) -> Iterator[str]:
    for name, spec in definition.nodes.items():
        if spec.kind == "human":
            yield name
        elif name in definition.subgraphs:
            yield from (f"{name}/{each}" for each in _humans(definition.subgraphs[name].definition))
