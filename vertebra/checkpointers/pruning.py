"""Pruning a store: each thread in a transaction of its own, with time for others in between, then its room given back.

State and records go in one transaction where they share a database. Elsewhere (``memory://``, a saver of the user's)
the thread is held while its state goes, its record goes last, and whoever is killed in between prunes it again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers import retention
from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.retention import Retention
from vertebra.databases.database import Database
from vertebra.databases.space import paced, reclaim, size_bytes
from vertebra.databases.url import StoreUrl
from vertebra.errors import EncryptionError, StoreCorrupt, UsageError
from vertebra.ports import crash_point
from vertebra.types import Pruned

if TYPE_CHECKING:
    from vertebra.checkpointers.ordering import OrderedSaver

Progress = Callable[[str, int, int], None]
"""Told of ``threads`` that were looked at, and of all; then of ``bytes`` that were given back, and of all."""


class Pruner:
    """Prunes the threads of one database, one after the other."""

    def __init__(
        self, database: Database, saver: OrderedSaver, policy: Retention, *, url: StoreUrl, together: bool
    ) -> None:
        self._database = database
        self._saver = saver
        self._policy = policy
        self._url = url
        self._together = together
        self._gone: set[str] = set()

    async def run(self, tell: Progress) -> Pruned:
        """Prune them all, and give back the room that it made."""
        before, policy = await self._size_bytes(), self._policy
        threads = await self._database.run(lambda tx: retention.candidates(tx, policy))
        done = Pruned()
        for number, thread in enumerate(threads):
            tell("threads", number, len(threads))
            began = time.monotonic()
            done += (one := await self._unless_damaged(thread))
            crash_point("prune.done")
            if one.threads:
                self._gone.add(thread)
            await asyncio.sleep(paced(began))
        changed = not policy.dry_run and (done.threads or done.shortened)
        if changed:
            await self._reclaim(tell)
        after = await self._size_bytes() if changed else before
        return replace(done, bytes_before=before, bytes_after=after, dry_run=policy.dry_run)

    async def _size_bytes(self) -> int:
        return await asyncio.to_thread(size_bytes, self._database, self._url)

    async def _reclaim(self, tell: Progress) -> None:
        steps, most = reclaim(self._url), 0
        while True:
            began = time.monotonic()
            left = await asyncio.to_thread(next, steps, None)
            if left is None:
                return
            most = max(most, left)
            tell("bytes", most - left, most)
            crash_point("prune.reclaiming")
            await asyncio.sleep(paced(began))

    async def _unless_damaged(self, thread: str) -> Pruned:
        """Prune one thread; one whose rows cannot be read stays, and keeps nobody from those after it."""
        try:
            return await self._prune(thread)
        except (StoreCorrupt, EncryptionError) as error:
            if isinstance(error, StoreCorrupt) and "thread" not in error.context:
                raise  # of the database as a whole
            return Pruned(kept={"damaged": 1}, damaged={thread: error.located(thread=thread)})

    async def _prune(self, thread: str) -> Pruned:
        """Prune one thread, unless something speaks against it by now."""
        if not self._together:
            return await self._apart(thread)
        return await self._saver.atogether(
            thread, lambda tx, drop: retention.prune(tx, drop, self._policy, thread, self._gone)
        )

    async def _apart(self, thread: str) -> Pruned:
        policy, database = self._policy, self._database
        counted = await self._counted(thread)
        if policy.dry_run:
            return await database.run(lambda tx: retention.prune(tx, lambda *_: counted, policy, thread, self._gone))
        found = await database.run(lambda tx: retention.claim(tx, policy, thread, self._gone))
        if isinstance(found, Pruned):
            return found
        try:
            with writing_under(found):
                await self._drop(thread)
            crash_point("prune.dropped")
            left = await self._counted(thread)
            dropped = counted - left if policy.keep else counted
            return await database.run(lambda tx: retention.finish(tx, dropped, policy, found))
        except BaseException:
            await database.run(lambda tx: retention.release(tx, found))
            raise

    async def _drop(self, thread: str) -> None:
        keep = self._policy.keep
        if self._policy.removes:
            await self._saver.adelete_thread(thread)
        elif keep is not None:
            options: dict[str, Any] = {"keep": keep} if keep > 1 else {}  # LangGraph's own savers keep one
            try:
                await self._saver.aprune([thread], strategy="keep_latest", **options)
            except (NotImplementedError, TypeError) as error:
                raise UsageError(
                    f"{type(self._saver.inner).__name__} cannot keep the last {keep} checkpoints of a thread.",
                    remedy="use a checkpointer of ours, or let threads go whole.",
                ) from error

    async def _counted(self, thread: str) -> int:
        """The checkpoints of a thread; in a dry run those that would go."""
        found: Counter[str] = Counter()
        async for item in self._saver.alist({"configurable": {"thread_id": thread}}):
            found[item.config["configurable"].get("checkpoint_ns", "")] += 1
        keep = self._policy.keep if self._policy.dry_run else None
        return sum(max(0, count - (keep or 0)) for count in found.values())
