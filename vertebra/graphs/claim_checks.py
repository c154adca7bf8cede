"""The claims that a graph keeps, as checks."""

from __future__ import annotations

from collections.abc import Iterator

from vertebra.errors import UsageError
from vertebra.graphs.definition import Definition
from vertebra.graphs.flow_checks import error
from vertebra.graphs.proofs import prove
from vertebra.types import Finding


def kept(definition: Definition) -> Iterator[Finding]:
    """An error for each claim of ``Graph.require`` that some path breaks, with that path."""
    for claim in definition.claims:
        try:
            proof = prove(definition, claim)
        except UsageError as unknown:
            yield error("claim_of_unknown_node", definition.name, unknown.message, unknown.remedy)
            continue
        if not proof:
            note = f" ({proof.note})" if proof.note else ""
            yield error(
                "claim_broken",
                proof.path,
                f"it is required that {proof.claim}, but this path breaks it{note}.",
                "change the edges of this path, or remove the claim.",
            )
