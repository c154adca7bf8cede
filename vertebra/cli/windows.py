"""The windows that nodes saw of conversations, each with the calls that it fed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vertebra.cli.terminal import Terminal
from vertebra.memory.messages import canonical
from vertebra.types import CallRecord


def windows_data(recorded: Sequence[tuple[str, str]], calls: Sequence[CallRecord]) -> list[dict[str, Any]]:
    """Windows, for ``--json``: ``recorded`` has visit and manifest; ``calls`` are numbered from 1."""
    found = []
    for visit, text in recorded:
        manifest = json.loads(text)
        size = len(manifest["messages"]) + len(manifest["own"]) + (manifest["summary"] is not None)
        fed = [n for n, c in enumerate(calls, 1) if c.key.visit == visit and _holds(c, size, manifest["hash"])]
        found.append({"visit": visit, "calls": fed, **manifest})
    return found


def windows_text(windows: Sequence[Mapping[str, Any]], terminal: Terminal) -> Iterator[str]:
    """A line for each window: what it was made of, and which calls had it."""
    for window in windows:
        ids, own, summary = window["messages"], len(window["own"]), window["summary"]
        parts = [f"{_ranges(ids)} of {window['conversation']}"] if ids else []
        parts += [f"{own} of its own"] if own else []
        parts += [f"the summary of {summary[1]} to {summary[2]}"] if summary else []
        parts += [] if window["complete"] else ["what came before was left out"]
        fed = f"call {', '.join(map(str, window['calls']))}" if window["calls"] else "no call"
        yield terminal.line(f"{window['visit']} saw {'; '.join(parts)} ({window['tokens']} tokens, for {fed})", 2)


def _holds(call: CallRecord, size: int, digest: str) -> bool:
    """Whether the window is among the messages of the request, one after the other."""
    try:
        messages = json.loads(call.request or "null").get("messages", [])
    except (ValueError, AttributeError):
        return False
    starts = range(len(messages) - size + 1)
    return any(_hash(messages[start : start + size]) == digest for start in starts)


def _hash(messages: Any) -> str:
    return hashlib.sha256(canonical(messages).encode()).hexdigest()[:32]


def _ranges(ids: Sequence[int]) -> str:
    """``1, 4 to 9``."""
    found: list[list[int]] = []
    for number in ids:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return "messages " + ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in found)
