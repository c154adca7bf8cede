"""Steps of work that is partly in the database and partly beside it, written once for async and for sync code."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from vertebra.databases.database import Database, Tx

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Transaction:
    """To be done in one transaction."""

    work: Callable[[Tx], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """To be done in one transaction that writes nothing."""

    work: Callable[[Tx], Any]


@dataclass(frozen=True, slots=True)
class Beside:
    """To be done in no transaction: it takes long, or asks a model."""

    work: Callable[[], Any]


Steps = Generator[Transaction | Reading | Beside, Any, T]
"""Yields what is to be done, is sent what came of it, returns the result."""


async def run(database: Database, steps: Steps[T]) -> T:
    """Do the steps; what is beside the database on a thread, with the caller's context."""
    advance = functools.partial(next, steps)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            if isinstance(step, Transaction):
                given = await database.run(step.work)
            elif isinstance(step, Reading):
                given = await database.read(step.work)
            else:
                given = await asyncio.to_thread(step.work)
            advance = functools.partial(steps.send, given)
        except BaseException as error:
            advance = functools.partial(steps.throw, error)


def run_sync(database: Database, steps: Steps[T]) -> T:
    """Do the steps."""
    advance = functools.partial(next, steps)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            if isinstance(step, Transaction):
                given = database.run_sync(step.work)
            else:
                given = database.read_sync(step.work) if isinstance(step, Reading) else step.work()
            advance = functools.partial(steps.send, given)
        except BaseException as error:
            advance = functools.partial(steps.throw, error)
