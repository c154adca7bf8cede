"""The static checks of a definition: all of them always run, so that all findings come at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vertebra.graphs import claim_checks, data_checks, flow_checks
from vertebra.graphs.definition import Definition
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
    data_checks.subgraphs,
)


def check(definition: Definition) -> list[Finding]:
    """Run every check; errors come before warnings, otherwise in the order of the checks."""
    findings = [finding for one in CHECKS for finding in one(definition)]
    unique = list(dict.fromkeys(findings))
    if all(finding.severity != "error" for finding in unique):
        unique += claim_checks.kept(definition)  # of a graph that is not whole, nothing can be proved
    return sorted(unique, key=lambda finding: finding.severity != "error")
