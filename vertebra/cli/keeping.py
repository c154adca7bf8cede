"""What ``vertebra memory`` does about what is known and how long it is kept: facts, forget, receipts, holds, expire."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal, clean, clock
from vertebra.errors import UsageError
from vertebra.memory import Fact, Hold, Memory, Receipt

Action = Callable[[Memory, argparse.Namespace], None]


def fact_data(fact: Fact) -> dict[str, Any]:
    """A fact, for ``--json``; times are Unix seconds."""
    return asdict(fact)


def hold_data(hold: Hold) -> dict[str, Any]:
    """A hold, for ``--json``."""
    return asdict(hold)


def receipt_data(receipt: Receipt) -> dict[str, Any]:
    """A receipt, for ``--json``: with whether its digest is right."""
    return {**asdict(receipt), "removed": dict(receipt.removed), "intact": receipt.intact}


def _facts(memory: Memory, options: argparse.Namespace) -> None:
    facts = memory.facts(options.subject, tenant=options.tenant)
    if options.as_of is not None:
        facts = facts.as_of(options.as_of)
    if options.known_at is not None:
        facts = facts.known_at(options.known_at)
    found = facts.history_sync(options.predicate) if options.history else facts.list_sync()
    found = [fact for fact in found if options.predicate in (None, fact.predicate)]
    if options.json:
        print(json.dumps([fact_data(fact) for fact in found]))
        return
    rows = [
        (
            *(fact.predicate, "(retracted)" if fact.retracted else json.dumps(fact.value, ensure_ascii=False)),
            *("ever" if fact.valid_from is None else clock(fact.valid_from), _clock(fact.valid_until)),
            *(clock(fact.learned_at), "" if fact.confidence is None else f"{fact.confidence:g}"),
            "" if fact.source is None else f"{fact.source.conversation}/{fact.source.message}",
        )
        for fact in found
    ]
    _table(("PREDICATE", "VALUE", "FROM", "UNTIL", "LEARNED", "CONFIDENCE", "SOURCE"), rows, "fact")


def _forget(memory: Memory, options: argparse.Namespace) -> None:
    conversations = memory.conversations_sync(tenant=options.tenant, subject=options.subject)
    facts = memory.facts(options.subject, tenant=options.tenant).history_sync()
    messages = sum(conversation.messages for conversation in conversations)
    parts = (counted(len(conversations), "conversation"), counted(messages, "message"), counted(len(facts), "fact"))
    _confirm(f"Forget {options.subject}: the content of {', '.join(parts)}. It cannot be brought back.", options)
    receipt = memory.forget_sync(options.subject, reason=options.reason, by=options.by, tenant=options.tenant)
    if options.json:
        print(json.dumps(receipt_data(receipt)))
    else:
        print(clean(f"forgotten: {_removed(receipt)}; receipt {receipt.id}."))


def _receipts(memory: Memory, options: argparse.Namespace) -> None:
    found = memory.receipts_sync(subject=options.subject, tenant=options.tenant)
    if options.json:
        print(json.dumps([receipt_data(receipt) for receipt in found]))
        return
    rows = [
        (
            *(receipt.id, receipt.subject, "unfinished" if receipt.ended_at is None else clock(receipt.ended_at)),
            *("" if receipt.ended_at is None else "yes" if receipt.intact else "NO", _removed(receipt)),
            *(receipt.forgotten_by, receipt.reason),
        )
        for receipt in found
    ]
    _table(("RECEIPT", "SUBJECT", "ENDED", "INTACT", "REMOVED", "BY", "REASON"), rows, "receipt")


def _hold(memory: Memory, options: argparse.Namespace) -> None:
    _tell_hold(memory.hold_sync(options.subject, reason=options.reason, by=options.by, tenant=options.tenant), options)


def _release(memory: Memory, options: argparse.Namespace) -> None:
    _tell_hold(memory.release_sync(options.hold, by=options.by, tenant=options.tenant), options)


def _tell_hold(hold: Hold, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(hold_data(hold)))
    else:
        print(clean(f"{hold.id}: {'held' if hold.released_at is None else 'released'}."))


def _holds(memory: Memory, options: argparse.Namespace) -> None:
    found = memory.holds_sync(subject=options.subject, released=options.all, tenant=options.tenant)
    if options.json:
        print(json.dumps([hold_data(hold) for hold in found]))
        return
    rows = [
        (hold.id, hold.subject, clock(hold.placed_at), hold.placed_by, _clock(hold.released_at), hold.reason)
        for hold in found
    ]
    _table(("HOLD", "SUBJECT", "PLACED", "BY", "RELEASED", "REASON"), rows, "hold")


def _expire(memory: Memory, options: argparse.Namespace) -> None:
    rest = "" if options.default is None else f", and those without that were silent for {options.default:g} s"
    _confirm(f"Delete each conversation whose time to live is over{rest}. They cannot be brought back.", options)
    done = memory.expire_sync(default_ttl_s=options.default, tenant=options.tenant)
    if options.json:
        print(json.dumps(asdict(done)))
        return
    held = f"; {counted(done.held, 'conversation')} kept by a hold" if done.held else ""
    rest = f", {counted(done.items, 'item')}" if done.items else ""
    print(f"{counted(done.conversations, 'conversation')}, {counted(done.messages, 'message')}{rest} deleted{held}.")


ACTIONS: dict[str, Action] = {
    "facts": _facts,
    "forget": _forget,
    "receipts": _receipts,
    "hold": _hold,
    "release": _release,
    "holds": _holds,
    "expire": _expire,
}


def _confirm(what: str, options: argparse.Namespace) -> None:
    """Ask whoever sits at the terminal. Raises ``UsageError`` where nobody does, or the answer is not yes."""
    if options.yes:
        return
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(clean(what), remedy="pass --yes: there is no terminal to ask at.")
    print(clean(what), "Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise UsageError("Nothing was done.", remedy="answer with yes.")


_SINGULAR = {"entries": "entry", "summaries": "summary"}


def _removed(receipt: Receipt) -> str:
    parts = [
        f"{number} {_SINGULAR.get(kind, kind.removesuffix('s')) if number == 1 else kind}"
        for kind, number in sorted(receipt.removed.items())
        if number
    ]
    return ", ".join(parts) or "nothing"


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else clock(seconds)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], what: str) -> None:
    if rows:
        print("\n".join(Terminal.of(sys.stdout).table(header, rows)))
    print(f"{counted(len(rows), what)}.")
