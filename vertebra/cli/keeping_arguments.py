"""The command line of the part of ``vertebra memory`` that is about facts, and about how long things are kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from typing import Any

from vertebra.cli.options import command, span

Where = Callable[[argparse.ArgumentParser], None]


def add_actions(actions: Any, where: Where) -> None:
    """Add them; ``where`` adds what every action on a memory takes."""
    for add in (_facts, _forget, _receipts, _hold, _release, _holds, _expire):
        where(add(actions))


def _facts(actions: Any) -> argparse.ArgumentParser:
    facts = command(
        actions,
        "facts",
        "list what is known of a subject: what holds now, or at a time, or all that was ever said",
        "vertebra memory facts patient-7 --as-of 2024-05-01",
        "vertebra memory facts patient-7 --history --predicate takes --json",
    )
    facts.add_argument("subject", metavar="SUBJECT")
    facts.add_argument("--as-of", type=moment, metavar="TIME", help="what held then (default: now)")
    facts.add_argument("--known-at", type=moment, metavar="TIME", help="by what was known then (default: all)")
    facts.add_argument("--predicate", metavar="NAME", help="only of this predicate")
    facts.add_argument("--history", action="store_true", help="every statement, as they were learned")
    return facts


def _forget(actions: Any) -> argparse.ArgumentParser:
    forget = command(
        actions,
        "forget",
        "take away all content that is kept on a subject; it leaves a receipt, and may be repeated",
        "vertebra memory forget patient-7 --reason 'letter of 3 May' --by dpo",
        "vertebra memory forget patient-7 --reason 'letter of 3 May' --by dpo --yes --json",
    )
    forget.add_argument("subject", metavar="SUBJECT")
    _why(forget)
    _yes(forget)
    return forget


def _receipts(actions: Any) -> argparse.ArgumentParser:
    receipts = command(
        actions,
        "receipts",
        "list the receipts of what was forgotten",
        "vertebra memory receipts --subject patient-7",
        "vertebra memory receipts --json | jq '.[] | select(.ended_at == null)'",
    )
    receipts.add_argument("--subject", metavar="SUBJECT", help="only of this subject, by its name")
    return receipts


def _hold(actions: Any) -> argparse.ArgumentParser:
    hold = command(
        actions,
        "hold",
        "place a legal hold on a subject: until it is released nothing of it is forgotten or expires",
        "vertebra memory hold patient-7 --reason 'case 4711' --by counsel",
    )
    hold.add_argument("subject", metavar="SUBJECT")
    _why(hold)
    return hold


def _release(actions: Any) -> argparse.ArgumentParser:
    release = command(
        actions,
        "release",
        "release a legal hold",
        "vertebra memory release 5f2c9a1be07d4433 --by counsel",
    )
    release.add_argument("hold", metavar="HOLD", help="its id, as `vertebra memory holds` has it")
    release.add_argument("--by", metavar="NAME", required=True, help="who releases it")
    return release


def _holds(actions: Any) -> argparse.ArgumentParser:
    holds = command(
        actions,
        "holds",
        "list the legal holds that stand",
        "vertebra memory holds --subject patient-7 --all",
    )
    holds.add_argument("--subject", metavar="SUBJECT", help="only on this subject")
    holds.add_argument("--all", action="store_true", help="also those that were released")
    return holds


def _expire(actions: Any) -> argparse.ArgumentParser:
    expire = command(
        actions,
        "expire",
        "delete the conversations whose time to live is over",
        "vertebra memory expire --default 365d --yes",
    )
    expire.add_argument(
        "--default", type=span, metavar="SPAN", help="for those without a time to live, such as 90d, 12h or 30min"
    )
    _yes(expire)
    return expire


def moment(text: str) -> float:
    """A time, as a date, a date and time (UTC unless it says otherwise) or Unix seconds; in Unix seconds."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a date such as 2024-05-01, with a time or without, or Unix seconds") from None
    return (found if found.tzinfo else datetime.fromisoformat(f"{found.isoformat()}+00:00")).timestamp()


def _why(action: argparse.ArgumentParser) -> None:
    action.add_argument("--reason", metavar="TEXT", required=True, help="why, in words that name nobody")
    action.add_argument("--by", metavar="NAME", required=True, help="who decided it")


def _yes(action: argparse.ArgumentParser) -> None:
    action.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
