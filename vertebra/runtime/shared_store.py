"""The LangGraph store that nodes share: what may be one, and one that only tells, for a thread that is verified."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vertebra.errors import UsageError

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore


def require_store(store: Any) -> None:
    """Raise ``UsageError`` for what is no store of LangGraph's."""
    if store is None:
        return
    from langgraph.store.base import BaseStore

    if not isinstance(store, BaseStore):
        raise UsageError(
            f"store= takes a store of LangGraph's, not {type(store).__name__}.",
            remedy="pass memory.store() of an open memory; what was said goes to memory=URL.",
        )


def read_only(store: BaseStore | None) -> BaseStore | None:
    """The same store, which forgets what is put into it."""
    if store is None:
        return None
    from langgraph.store.base import BaseStore, GetOp, Op, PutOp, Result, SearchOp

    inner = store

    class ReadOnly(BaseStore):
        supports_ttl = inner.supports_ttl
        ttl_config = inner.ttl_config

        def batch(self, ops: Iterable[Op]) -> list[Result]:
            asked = list(ops)
            return _spread(asked, inner.batch(_reads(asked)))

        async def abatch(self, ops: Iterable[Op]) -> list[Result]:
            asked = list(ops)
            return _spread(asked, await inner.abatch(_reads(asked)))

    def _reads(ops: list[Op]) -> list[Op]:
        # Else a read would prolong a time to live.
        return [
            op._replace(refresh_ttl=False) if isinstance(op, GetOp | SearchOp) else op
            for op in ops
            if not isinstance(op, PutOp)
        ]

    def _spread(ops: list[Op], found: list[Result]) -> list[Result]:
        left = iter(found)
        return [None if isinstance(op, PutOp) else next(left) for op in ops]

    return ReadOnly()
