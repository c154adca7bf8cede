"""How long what is kept is kept: forgotten on demand, expired by its time, and held against both."""

from __future__ import annotations

from collections.abc import Callable

from vertebra.databases.database import Database, Tx
from vertebra.errors import UsageError
from vertebra.memory import holds, receipts
from vertebra.memory.expiring import Expired, Expiry
from vertebra.memory.forgetting import Forgetting
from vertebra.memory.holds import Hold
from vertebra.memory.place import name_of, tenant_of, text_of, whom
from vertebra.memory.receipts import Receipt
from vertebra.ports import crash_point


class Keeping:
    """The part of a ``Memory`` that ends what it keeps."""

    _database: Database

    async def forget(self, subject: str, *, reason: str, by: str, tenant: str | None = None) -> Receipt:
        """Take away all content that is kept on a subject, and leave a receipt without any.

        Messages stay as tombstones under their ids, so that threads and branches run on; facts, titles, tags and the
        name of the subject go. In batches: killed anywhere, the same call goes on; where nothing is left it returns
        the receipt that is there. What is appended meanwhile, or later, is new content.
        Raises ``SubjectHeld`` while a legal hold is on the subject, and ``StoreUnavailable`` where a reader keeps old
        pages of SQLite's log alive: then too the same call goes on.

        Example::

            receipt = await memory.forget("patient-7", reason="asked by letter of 3 May", by="dpo")
        """
        forgetting = Forgetting(whom(subject, tenant), _said("reason", reason), name_of("by", by))
        while await self._database.run(forgetting.more):
            crash_point("forget.batch")
        receipt = await self._database.run(forgetting.emptied)
        crash_point("forget.emptied")
        await self._database.wipe()
        crash_point("forget.wiped")
        return await self._database.run(_ending(tenant, receipt))

    def forget_sync(self, subject: str, *, reason: str, by: str, tenant: str | None = None) -> Receipt:
        """``forget`` for sync code."""
        forgetting = Forgetting(whom(subject, tenant), _said("reason", reason), name_of("by", by))
        while self._database.run_sync(forgetting.more):
            crash_point("forget.batch")
        receipt = self._database.run_sync(forgetting.emptied)
        crash_point("forget.emptied")
        self._database.wipe_sync()
        crash_point("forget.wiped")
        return self._database.run_sync(_ending(tenant, receipt))

    async def receipts(self, *, subject: str | None = None, tenant: str | None = None) -> list[Receipt]:
        """What was forgotten, oldest first; one without ``ended_at`` was cut short. Of a subject, by its name."""
        return await self._database.run(_receipts(subject, tenant))

    def receipts_sync(self, *, subject: str | None = None, tenant: str | None = None) -> list[Receipt]:
        """``receipts`` for sync code."""
        return self._database.run_sync(_receipts(subject, tenant))

    async def hold(self, subject: str, *, reason: str, by: str, tenant: str | None = None) -> Hold:
        """Keep a subject: until the hold is released, ``forget`` and ``delete`` refuse and ``expire`` passes over it.

        The same reason by the same person again is the hold that stands.
        """
        return await self._database.run(_holding(subject, reason, by, tenant))

    def hold_sync(self, subject: str, *, reason: str, by: str, tenant: str | None = None) -> Hold:
        """``hold`` for sync code."""
        return self._database.run_sync(_holding(subject, reason, by, tenant))

    async def release(self, hold: str, *, by: str, tenant: str | None = None) -> Hold:
        """End a hold, by its id; once ended it stays so. Raises ``HoldNotFound``."""
        return await self._database.run(_releasing(hold, by, tenant))

    def release_sync(self, hold: str, *, by: str, tenant: str | None = None) -> Hold:
        """``release`` for sync code."""
        return self._database.run_sync(_releasing(hold, by, tenant))

    async def holds(
        self, *, subject: str | None = None, released: bool = False, tenant: str | None = None
    ) -> list[Hold]:
        """The holds that stand, oldest first; with ``released`` those that were ended, too."""
        return await self._database.run(_holds(subject, released, tenant))

    def holds_sync(
        self, *, subject: str | None = None, released: bool = False, tenant: str | None = None
    ) -> list[Hold]:
        """``holds`` for sync code."""
        return self._database.run_sync(_holds(subject, released, tenant))

    async def expire(self, *, default_ttl_s: float | None = None, tenant: str | None = None) -> Expired:
        """Delete the conversations that were not written to for as long as their time to live.

        ``default_ttl_s``: for those that have none of their own; None: these stay. Those on hold stay. To be run now
        and then; it may be killed and run again. Raises ``StoreUnavailable`` as ``forget`` does.
        """
        expiry = Expiry(tenant_of(tenant), ttl(default_ttl_s))
        while await self._database.run(expiry.more):
            pass
        await self._database.wipe()
        return expiry.done

    def expire_sync(self, *, default_ttl_s: float | None = None, tenant: str | None = None) -> Expired:
        """``expire`` for sync code."""
        expiry = Expiry(tenant_of(tenant), ttl(default_ttl_s))
        while self._database.run_sync(expiry.more):
            pass
        self._database.wipe_sync()
        return expiry.done


def ttl(seconds: float | None) -> float | None:
    """A time to live. Raises ``UsageError``."""
    if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < float("inf")):
        raise UsageError(f"{seconds!r} is no time to live.", remedy="pass seconds, or None.")
    return seconds


def _said(what: str, text: str) -> str:
    if not text:
        raise UsageError(f"There is no {what}.", remedy=f"say the {what} in a few words, and name nobody in them.")
    return text_of(what, text) or ""


def _ending(tenant: str | None, receipt: Receipt) -> Callable[[Tx], Receipt]:
    return lambda tx: receipts.end(tx, tenant_of(tenant), receipt.id)


def _receipts(subject: str | None, tenant: str | None) -> Callable[[Tx], list[Receipt]]:
    return lambda tx: receipts.receipts(tx, tenant_of(tenant), subject=subject)


def _holding(subject: str, reason: str, by: str, tenant: str | None) -> Callable[[Tx], Hold]:
    held, why, who = whom(subject, tenant), _said("reason", reason), name_of("by", by)
    return lambda tx: holds.place_hold(tx, held, why, who)


def _releasing(hold: str, by: str, tenant: str | None) -> Callable[[Tx], Hold]:
    scope, id, who = tenant_of(tenant), name_of("hold", hold), name_of("by", by)
    return lambda tx: holds.release(tx, scope, id, who)


def _holds(subject: str | None, released: bool, tenant: str | None) -> Callable[[Tx], list[Hold]]:
    return lambda tx: holds.holds(tx, tenant_of(tenant), subject=subject, released=released)
