"""The static checks of a definition: all of them always run, so that all findings come at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vertebra.graphs import (
    claim_checks,
    data_checks,
    flow_checks,
    node_checks,
    read_checks,
    subgraph_checks,
    trust_checks,
)
from vertebra.graphs.definition import Definition
from vertebra.graphs.waiving import waive
from vertebra.graphs.writes import fields_of_type as fields_of_type
from vertebra.types import Finding

Check = Callable[[Definition], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    flow_checks.names,
    flow_checks.unknown_nodes,
    flow_checks.ends,
    flow_checks.cycles,
    flow_checks.routers,
    flow_checks.fan_outs,
    data_checks.fan_out_fields,
    data_checks.parallel_writes,
    data_checks.declared_writes,
    data_checks.questions,
    read_checks.declared_reads,
    subgraph_checks.inside,
    subgraph_checks.fields,
    trust_checks.model_to_effect,
    node_checks.limits,
    node_checks.idempotency,
    node_checks.questions_in_fan_outs,
    read_checks.reads,
)


def check(definition: Definition) -> list[Finding]:
    """Run every check; errors come before warnings, what is waived last, otherwise in the order of the checks."""
    findings = [finding for one in CHECKS for finding in one(definition)]
    unique = list(dict.fromkeys(findings))
    if all(finding.severity != "error" for finding in waive(definition, unique) if finding.waived is None):
        unique += claim_checks.kept(definition)  # of a graph that is not whole, nothing can be proved
    rank = {"error": 0, "warning": 1}
    return sorted(waive(definition, unique), key=lambda each: 2 if each.waived is not None else rank[each.severity])
