"""The scope of a search: one tenant, and of it what the filters leave."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vertebra.errors import UsageError

MESSAGE, SUMMARY = "message", "summary"


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be found. Every statement of a search is bound to it."""

    tenant: str
    subject: str | None = None
    conversation: str | None = None
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    kinds: tuple[str, ...] = ()

    @property
    def is_narrow(self) -> bool:
        """Whether a filter leaves out something of the tenant's."""
        return self != Scope(self.tenant)

    def where(self) -> tuple[str, list[Any]]:
        """The condition on entries ``e``, and its values."""
        condition, values = "e.tenant = ?", [self.tenant]
        for sql, value in (
            ("e.conversation = ?", self.conversation),
            ("e.at >= ?", self.since),
            ("e.at < ?", self.until),
        ):
            if value is not None:
                condition += f" AND {sql}"
                values.append(value)  # type: ignore[arg-type]
        for column, allowed in (("role", self.roles), ("kind", self.kinds)):
            if allowed:
                condition += f" AND e.{column} IN ({', '.join('?' * len(allowed))})"
                values += allowed
        if self.subject is not None:
            condition += (
                " AND e.conversation IN (SELECT c.id FROM vertebra_memory_conversations c "
                "WHERE c.tenant = ? AND c.subject = ?)"
            )
            values += [self.tenant, self.subject]
        for tag in self.tags:
            condition += (
                " AND e.conversation IN (SELECT t.conversation FROM vertebra_memory_tags t "
                "WHERE t.tenant = ? AND t.tag = ?)"
            )
            values += [self.tenant, tag]
        return condition, values


def seconds(what: str, value: float | datetime | None) -> float | None:
    """Unix seconds. Raises ``UsageError`` for a time that names no moment."""
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise UsageError(f"{what}={value} has no time zone.", remedy="pass datetime(..., tzinfo=UTC).")
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{what}={value!r} is no time.", remedy="pass Unix seconds, or a datetime with its zone.")
    return float(value)


def names(what: str, values: Iterable[str]) -> tuple[str, ...]:
    """The different ones. Raises ``UsageError`` for one text in their place."""
    if isinstance(values, str):
        raise UsageError(f"{what}={values!r} is one text.", remedy=f"pass {what}=[{values!r}].")
    return tuple(dict.fromkeys(values))
