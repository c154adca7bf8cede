"""Which findings are waived: by code, at the place where the waiver stands, each with its reason.

A waiver at a node is for findings about that node, and about what is in it if it is a subgraph; one of the whole
graph is for all of them. What would certainly fail cannot be waived, and a waiver that is for nothing is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vertebra.graphs.definition import Definition
from vertebra.graphs.flow_checks import error, warning
from vertebra.types import Finding

WAIVABLE_ERRORS = frozenset({"parallel_writers", "unbounded_cycle"})
"""Errors of prudence: a run may go well all the same, and is stopped where it does not."""

Waiver = tuple[str, str]
"""A place (``""``: the graph) and a code."""


def waive(definition: Definition, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, those that are waived with their reasons; then what is wrong with the waivers."""
    waivers = {(place, code): why for place, codes in definition.waivers.items() for code, why in codes.items()}
    nodes = [spec for spec in definition.nodes.values() if spec.waivers]
    waivers |= {(spec.name, code): why for spec in nodes for code, why in spec.waivers.items()}
    used: dict[Waiver, bool] = {}
    for finding in findings:
        waiver = next((each for each in waivers if _is_for(each, finding)), None)
        firm = finding.severity == "error" and finding.code not in WAIVABLE_ERRORS
        if waiver is not None:
            used[waiver] = used.get(waiver, True) and not firm
        yield finding if waiver is None or firm or finding.waived else replace(finding, waived=waivers[waiver])
    for place, code in waivers:
        where = place or definition.name
        if not used.get((place, code), False) and (place, code) in used:
            yield error(
                "waiver_of_an_error",
                where,
                f"{code} cannot be waived: a run would fail by it.",
                "mend it, and remove the waiver.",
            )
        elif (place, code) not in used:
            yield warning(
                "unused_waiver", where, f"nothing is found here as {code}.", "remove the waiver, or mend its code."
            )


def _is_for(waiver: Waiver, finding: Finding) -> bool:
    place, code = waiver
    if code != finding.code:
        return False
    return not place or finding.place == place or finding.place.startswith(f"{place}/") or place in finding.nodes
