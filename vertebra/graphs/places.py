"""How the parts of a graph are called in findings: a waiver is found again by the same words."""

from __future__ import annotations

from collections.abc import Sequence


def edge(source: str, target: str) -> str:
    return f"edge {source} -> {target}"


def join(sources: Sequence[str], target: str) -> str:
    return f"edge {list(sources)} -> {target}"


def choice(source: str) -> str:
    return f"conditional edges of {source}"


def fan_out(source: str, worker: str) -> str:
    return f"fan_out({source} => {worker})"
