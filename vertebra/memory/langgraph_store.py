"""LangGraph's ``BaseStore`` on the database of a memory, for ``store=`` and for parts that are built on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
    tokenize_path,
    validate_op_namespace,
)

from vertebra.databases.database import Database, Tx
from vertebra.errors import UsageError
from vertebra.memory import items
from vertebra.memory.items import Change
from vertebra.memory.matching import fits, matches, packed, similarities
from vertebra.memory.place import text_of


class LangGraphStore(BaseStore):
    """Items of one tenant; made by ``Memory.store``. Safe in any event loop and thread.

    As LangGraph's ``InMemoryStore``, but that values are JSON, ``created_at`` stays when a key is put again, a
    comparison with what has no size is false, and a time to live is kept: what has expired is not told any more, and
    ``Memory.expire`` deletes it. A batch is one transaction: it reads, then it writes.
    Without ``index`` nothing is indexed: a ``query`` ranks nothing, and items come in the order of their making.
    """

    supports_ttl = True

    def __init__(
        self, database: Database, tenant: str, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> None:
        self._database, self._tenant = database, tenant
        self.ttl_config = ttl
        self._embeddings = None if index is None else ensure_embeddings(index.get("embed"))
        self._fields = [] if index is None else list(index.get("fields") or ["$"])

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations in one transaction; called by every sync method."""
        work = _Batch(list(ops), self._fields if self._embeddings else None)
        if self._embeddings is not None:
            if work.texts:
                work.embedded(self._embeddings.embed_documents(work.texts))
            for query in work.queries:
                work.queries[query] = self._embeddings.embed_query(query)
        return self._database.run_sync(self._work(work))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """``batch`` for async code."""
        work = _Batch(list(ops), self._fields if self._embeddings else None)
        if self._embeddings is not None:
            if work.texts:
                work.embedded(await self._embeddings.aembed_documents(work.texts))
            for query in work.queries:
                work.queries[query] = await self._embeddings.aembed_query(query)
        return await self._database.run(self._work(work))

    def _work(self, work: _Batch) -> Callable[[Tx], list[Result]]:
        return lambda tx: work.run(tx, self._tenant)


@dataclass
class _Batch:
    """Operations on their way: what has to be embedded first, and then all of them in a transaction."""

    ops: list[Op]
    fields: list[str] | None
    queries: dict[str, list[float]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._puts: dict[tuple[tuple[str, ...], str], PutOp] = {}
        self._values: dict[tuple[tuple[str, ...], str], str | None] = {}
        self._paths: list[tuple[tuple[str, ...], str, str]] = []
        self._vectors: dict[tuple[tuple[str, ...], str], dict[str, bytes]] = {}
        for op in self.ops:
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                text_of("key", op.key)
                self._puts[op.namespace, op.key] = op  # the last one of a key stands
            elif isinstance(op, SearchOp):
                if op.query and self.fields is not None:
                    self.queries[op.query] = []
            elif not isinstance(op, GetOp | ListNamespacesOp):
                raise UsageError(f"{type(op).__name__} is no operation of a store.", remedy="use LangGraph's own.")
        for place, put in self._puts.items():
            self._values[place] = None if put.value is None else _json(put.value)
            for path, text in self._texts_of(put):
                self.texts.append(text)
                self._paths.append((*place, path))

    def _texts_of(self, put: PutOp) -> list[tuple[str, str]]:
        if self.fields is None or put.value is None or put.index is False:
            return []
        found: list[tuple[str, str]] = []
        for path in self.fields if put.index is None else put.index:
            texts = get_text_at_path(put.value, path if path == "$" else tokenize_path(path))
            found += [(f"{path}.{number}" if len(texts) > 1 else path, text) for number, text in enumerate(texts)]
        return found

    def embedded(self, vectors: list[list[float]]) -> None:
        """Take the vectors of ``texts``, in their order."""
        for (namespace, key, path), vector in zip(self._paths, vectors, strict=True):
            self._vectors.setdefault((namespace, key), {})[path] = packed(vector)

    def run(self, tx: Tx, tenant: str) -> list[Result]:
        """The result of each operation. What is read is what was there before the writes of this batch."""
        results = [None if isinstance(op, PutOp) else _read(tx, tenant, op, self.queries) for op in self.ops]
        if self._puts:
            changes = [
                Change(*place, value, self._puts[place].ttl, self._vectors.get(place))
                for place, value in self._values.items()
            ]
            items.change(tx, tenant, changes)
        return results


def _read(tx: Tx, tenant: str, op: Op, queries: Mapping[str, list[float]]) -> Result:
    if isinstance(op, GetOp):
        found = items.get(tx, tenant, op.namespace, op.key, refresh=op.refresh_ttl)
        return None if found is None else Item(**_shown(found))
    if isinstance(op, ListNamespacesOp):
        return _namespaces(tx, tenant, op)
    op = cast("SearchOp", op)
    ranked = _search(tx, tenant, op, queries.get(op.query or ""))
    if op.refresh_ttl:
        items.refresh(tx, tenant, [item for item, _ in ranked])
    return [SearchItem(**_shown(item), score=score) for item, score in ranked]


def _search(tx: Tx, tenant: str, op: SearchOp, query: list[float] | None) -> list[tuple[items.Item, float | None]]:
    stop = op.offset + op.limit if query is None and min(op.offset, op.limit) >= 0 else None
    found: list[items.Item] = []
    if stop != 0:
        for item in items.under(tx, tenant, op.namespace_prefix):
            if fits(item.value, op.filter):
                found.append(item)
                if len(found) == stop:
                    break
    if query is None:
        return [(item, None) for item in found[op.offset : op.offset + op.limit]]
    vectors = items.vectors_under(tx, tenant, op.namespace_prefix)
    flat = [(item, vector) for item in found for vector in vectors.get((item.namespace, item.key), ())]
    nearest: dict[int, tuple[items.Item, float | None]] = {}
    for (item, _), score in zip(flat, similarities(query, [vector for _, vector in flat]), strict=True):
        best = nearest.get(item.position)
        if best is None or score > cast("float", best[1]):
            nearest[item.position] = (item, score)
    ranked = sorted(nearest.values(), key=lambda pair: -cast("float", pair[1]))[op.offset : op.offset + op.limit]
    # What has no vector fills up what is left of the limit, without a score, as in LangGraph's own.
    rest: list[tuple[items.Item, float | None]] = [(item, None) for item in found if item.position not in nearest]
    return ranked + rest[: max(0, op.limit - len(ranked))]


def _namespaces(tx: Tx, tenant: str, op: ListNamespacesOp) -> list[tuple[str, ...]]:
    conditions = op.match_conditions or ()
    found = {
        namespace if op.max_depth is None else namespace[: op.max_depth]
        for namespace in items.namespaces(tx, tenant)
        if all(matches(namespace, condition.match_type, condition.path) for condition in conditions)
    }
    return sorted(found)[op.offset : op.offset + op.limit]


def _json(value: Any) -> str:
    """The value as JSON, its keys in their order. Raises ``UsageError``, without the value."""
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"This value is no JSON: {type(error).__name__}.", remedy="put a dict of plain data."
        ) from None
    return text


def _shown(item: items.Item) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": datetime.fromtimestamp(item.created_at, UTC),
        "updated_at": datetime.fromtimestamp(item.updated_at, UTC),
    }
