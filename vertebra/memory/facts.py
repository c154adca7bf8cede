"""The facts of one subject as their user holds them: learned, retracted, listed as of a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from vertebra.databases.database import Database, Tx
from vertebra.errors import UsageError
from vertebra.memory import learning
from vertebra.memory.learning import Fact, Source, Statement
from vertebra.memory.messages import canonical
from vertebra.memory.place import KEY_BYTES, Whom, name_of

Time = float | datetime
"""Unix seconds, or a datetime with a time zone."""

_Found = list[Fact]  # in the class, ``list`` is the method


class Facts:
    """What is known of a subject; made by ``Memory.facts``, which reads and writes nothing.

    A predicate has one value at a time; what has several is a list, or predicates of their own. Nothing is ever
    overwritten: a later fact supersedes an earlier one where their times overlap. Safe in any event loop and thread.
    """

    def __init__(
        self, database: Database, whom: Whom, as_of: float | None = None, known_at: float | None = None
    ) -> None:
        self._database, self._whom, self._as_of, self._known_at = database, whom, as_of, known_at

    @property
    def subject(self) -> str:
        """Whom or what they are about."""
        return self._whom.subject

    def as_of(self, time: Time) -> Facts:
        """The same facts as they held at ``time``; by default ``list`` and ``get`` tell what holds now."""
        return Facts(self._database, self._whom, _seconds("as_of", time), self._known_at)

    def known_at(self, time: Time) -> Facts:
        """The same facts as they were known at ``time``, with nothing that was learned later."""
        return Facts(self._database, self._whom, self._as_of, _seconds("known_at", time))

    async def learn(
        self,
        predicate: str,
        value: Any,
        *,
        valid_from: Time | None = None,
        valid_until: Time | None = None,
        source: Source | None = None,
        confidence: float | None = None,
        key: str | None = None,
    ) -> Fact:
        """Keep a fact, once a ``key``; the one that is kept, be it forgotten since.

        ``value``: any JSON. ``valid_from``: by default now; ``-math.inf`` is since ever. ``valid_until``: excluded, by
        default until further notice. ``confidence``: 0 to 1. The same key with the same predicate and value again:
        nothing happens. Raises ``FactMismatch`` for another one. Safe to retry with a key.

        Example::

            await memory.facts("patient-7").learn("takes", ["lisinopril"], key="visit-42/takes")
        """
        return await self._database.run(
            self._learn(predicate, value, False, valid_from, valid_until, source, confidence, key)
        )

    def learn_sync(
        self,
        predicate: str,
        value: Any,
        *,
        valid_from: Time | None = None,
        valid_until: Time | None = None,
        source: Source | None = None,
        confidence: float | None = None,
        key: str | None = None,
    ) -> Fact:
        """``learn`` for sync code."""
        return self._database.run_sync(
            self._learn(predicate, value, False, valid_from, valid_until, source, confidence, key)
        )

    async def retract(
        self,
        predicate: str,
        *,
        valid_from: Time | None = None,
        valid_until: Time | None = None,
        source: Source | None = None,
        key: str | None = None,
    ) -> Fact:
        """Say that the predicate has no value: from now on, or over a span; ``-math.inf`` is since ever.

        What was known before stays known as of before. Raises ``FactMismatch``. Safe to retry with a key.
        """
        return await self._database.run(self._learn(predicate, None, True, valid_from, valid_until, source, None, key))

    def retract_sync(
        self,
        predicate: str,
        *,
        valid_from: Time | None = None,
        valid_until: Time | None = None,
        source: Source | None = None,
        key: str | None = None,
    ) -> Fact:
        """``retract`` for sync code."""
        return self._database.run_sync(self._learn(predicate, None, True, valid_from, valid_until, source, None, key))

    async def list(self) -> _Found:
        """The fact that holds for each predicate, in their order."""
        return await self._database.run(self._holding(None))

    def list_sync(self) -> _Found:
        """``list`` for sync code."""
        return self._database.run_sync(self._holding(None))

    async def get(self, predicate: str) -> Fact | None:
        """The fact that holds for one predicate; None if there is none."""
        return next(iter(await self._database.run(self._holding(predicate))), None)

    def get_sync(self, predicate: str) -> Fact | None:
        """``get`` for sync code."""
        return next(iter(self._database.run_sync(self._holding(predicate))), None)

    async def history(self, predicate: str | None = None) -> _Found:
        """Every statement, retractions too, as they were learned: on one predicate, or on all."""
        return await self._database.run(self._history(predicate))

    def history_sync(self, predicate: str | None = None) -> _Found:
        """``history`` for sync code."""
        return self._database.run_sync(self._history(predicate))

    def _learn(
        self,
        predicate: str,
        value: Any,
        retracted: bool,
        valid_from: Time | None,
        valid_until: Time | None,
        source: Source | None,
        confidence: float | None,
        key: str | None,
    ) -> Callable[[Tx], Fact]:
        if key is not None:
            name_of("key", key, KEY_BYTES)
        if source is not None:
            name_of("source's conversation", source.conversation)
        if confidence is not None and not 0 <= confidence <= 1:
            raise UsageError(f"confidence={confidence!r} is no confidence.", remedy="pass a number from 0 to 1.")
        since = None if valid_from in (None, -math.inf) else _seconds("valid_from", valid_from)
        until = None if valid_until is None else _seconds("valid_until", valid_until)
        if since is not None and until is not None and until <= since:
            raise UsageError("valid_until is not after valid_from.", remedy="pass a span that has a length.")
        statement = Statement(
            name_of("predicate", predicate),
            json_of("value", value),
            retracted,
            valid_from is None,
            since,
            until,
            key,
            source,
            confidence,
        )
        return lambda tx: learning.learn(tx, self._whom, statement)

    def _holding(self, predicate: str | None) -> Callable[[Tx], _Found]:
        return lambda tx: learning.holding(
            tx, self._whom, as_of=self._as_of, known_at=self._known_at, predicate=predicate
        )

    def _history(self, predicate: str | None) -> Callable[[Tx], _Found]:
        return lambda tx: learning.history(tx, self._whom, known_at=self._known_at, predicate=predicate)


def json_of(what: str, value: Any) -> str:
    """The value in canonical JSON. Raises ``UsageError``, without the value."""
    try:
        text = canonical(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"This {what} is no JSON: {type(error).__name__}.", remedy="pass plain data.") from None
    return text


def _seconds(what: str, time: Any) -> float:
    if isinstance(time, datetime) and time.tzinfo is not None:
        return time.timestamp()
    if isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time):
        return float(time)
    raise UsageError(f"{what}={time!r} is no time.", remedy="pass Unix seconds, or a datetime with a time zone.")
