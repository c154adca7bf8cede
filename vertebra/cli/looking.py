"""What ``vertebra graph`` tells of a graph without running it: findings, proofs and bounds."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from vertebra.cli import printing
from vertebra.cli.loading import load_graph, open_store
from vertebra.cli.terminal import Terminal, clean
from vertebra.errors import UsageError
from vertebra.types import END, START, Finding


def check(options: argparse.Namespace) -> int:
    """Print what the static checks find: 1 if any of it that is not waived is an error, or with --strict is there."""
    graph = load_graph(options.graph)
    if not hasattr(graph, "check"):
        raise UsageError(
            f"{options.graph!r} is adopted from LangGraph, so there is nothing to check before it runs.",
            remedy="build it as a Graph to have it checked.",
        )
    findings = graph.check(waived=True)
    standing = [finding for finding in findings if finding.waived is None]
    if options.json:
        print(json.dumps([printing.finding_data(finding) for finding in findings]))
    else:
        terminal = Terminal.of(sys.stdout)
        for text, style in _findings(findings):
            head, _, rest = clean(text).partition(":")
            print(f"{terminal.paint(head, style)}:{rest}")
        waived = len(findings) - len(standing)
        more = f", {waived} waived" if waived else ""
        print(f"graph {graph.name} {graph.version}: {printing.counted(len(standing), 'finding')}{more}.")
    return 1 if any(finding.severity == "error" or options.strict for finding in standing) else 0


def _findings(findings: list[Finding]) -> Iterator[tuple[str, str]]:
    """A line for each finding; those that differ by nothing but their place share one."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, place="", nodes=()), []).append(finding.place)
    for finding, at in places.items():
        style = "dim" if finding.waived is not None else "red" if finding.severity == "error" else "yellow"
        yield str(replace(finding, place=", ".join(at))), style


def prove(options: argparse.Namespace) -> int:
    """Decide a claim: 0 if it is proved, 1 if it is not."""
    claim = {
        "node": _node(options.node),
        "before": _node(options.before),
        "between": _pair(options.between, "--between NODE,NODE"),
        "never": _node(options.never),
        "after": _node(options.after),
        "at_most": _times(options.at_most),
        "eventually": _node(options.eventually),
    }
    proof = _whole(options.graph).prove(**claim)
    if options.json:
        print(json.dumps(proof_data(proof)))
    else:
        head, _, rest = clean(str(proof)).partition(":")
        print(f"{Terminal.of(sys.stdout).paint(head, 'green' if proof else 'red')}:{rest}")
    return 0 if proof else 1


def bounds(options: argparse.Namespace) -> int:
    """Print the worst case, with --past beside it what runs on record came to; 0 whatever it is."""
    graph = _whole(options.graph)
    found = graph.bounds(past=None if options.past is None else asyncio.run(_past(options.past, graph)))
    print(json.dumps(bounds_data(found)) if options.json else clean(repr(found)))
    return 0


async def _past(url: str, graph: Any) -> Any:
    from vertebra.runtime.past import past_of

    with open_store(url) as store:
        return await past_of(store, graph.name, graph.fingerprint())


def proof_data(proof: Any) -> dict[str, Any]:
    """A proof, for ``--json``."""
    path = None if proof.counterexample is None else list(proof.counterexample)
    return {"claim": proof.claim, "holds": proof.holds, "counterexample": path, "note": proof.note}


def bounds_data(found: Any) -> dict[str, Any]:
    """A worst case, for ``--json``: infinite is null."""
    return {
        "visits": {node: _number(count) for node, count in found.visits.items()},
        "calls": {node: _number(count) for node, count in found.calls.items()},
        "total_calls": _number(found.total_calls),
        "unbounded": list(found.unbounded),
        "typical": None if found.typical is None else asdict(found.typical),
    }


def _number(count: float) -> int | None:
    return None if count == math.inf else int(count)


def _whole(place: str) -> Any:
    """A graph whose paths are known. Raises ``UsageError``, and ``GraphInvalid`` where its edges are not well."""
    graph = load_graph(place)
    if not hasattr(graph, "prove"):
        raise UsageError(
            f"{place!r} is adopted from LangGraph, so its paths are not known.",
            remedy="build it as a Graph to have something proved of it.",
        )
    return graph


def _node(name: str | None) -> str | None:
    return {"END": END, "START": START}.get(name or "", name)


def _pair(text: str | None, form: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    first, comma, second = text.partition(",")
    if not comma or not first or not second:
        raise UsageError(f"{text!r} is not of the form {form}.", remedy="write two parts with a comma between.")
    return str(_node(first)), str(_node(second))


def _times(text: str | None) -> tuple[str, int] | None:
    pair = _pair(text, "--at-most NODE,N")
    if pair is None:
        return None
    if not pair[1].isdecimal():
        raise UsageError(f"{pair[1]!r} is no number of visits.", remedy="write --at-most NODE,N, such as draft,3.")
    return pair[0], int(pair[1])
