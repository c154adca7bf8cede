"""Items of LangGraph's store as they are carried out of a database and into one: whole, with their vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory import content
from vertebra.memory.items import COLUMNS, LIVE, Namespace, encoded, item_of, lock
from vertebra.memory.pseudonyms import pseudonym

PAGE = 200


@dataclass(frozen=True, slots=True)
class ItemCopy:
    """An item with all that is kept of it; times are Unix seconds."""

    namespace: Namespace
    key: str
    value: dict[str, Any]
    created_at: float
    updated_at: float
    ttl_minutes: float | None = None
    expires_at: float | None = None
    vectors: Mapping[str, bytes] = field(default_factory=dict)


def page(tx: Tx, tenant: str, subject: str | None, after: int) -> tuple[list[ItemCopy], int | None]:
    """The next items, in the order in which they came, and where to go on; None: there are no more.

    Of a subject, those in a namespace that has it as one of its labels. What has expired is left out.
    """
    rows = tx.all(
        f"SELECT i.ttl_minutes, i.expires_at, {COLUMNS} FROM vertebra_memory_items i "
        f"WHERE i.tenant = ? AND i.position > ? AND {LIVE} ORDER BY i.position LIMIT ?",
        *(tenant, after, tx.now(), PAGE),
    )
    found = []
    for ttl_minutes, expires_at, *row in rows:
        item = item_of(tx, tenant, row)
        if subject is None or subject in item.namespace:
            times = (item.created_at, item.updated_at, ttl_minutes, expires_at)
            vectors = _vectors(tx, tenant, item.namespace, item.key)
            found.append(ItemCopy(item.namespace, item.key, item.value, *times, vectors))
    return found, None if len(rows) < PAGE else int(rows[-1][-1])


def put(tx: Tx, tenant: str, item: ItemCopy) -> bool:
    """Write an item where there is none under its key; whether it is new.

    What was forgotten here stays so: an item of a subject that was forgotten since it was last put is left out.
    """
    lock(tx, tenant)
    place = (tenant, encoded(item.namespace), item.key)
    of = (tenant, ".".join(item.namespace), item.key)
    names = [pseudonym(label) for label in item.namespace]
    forgotten = tx.one(
        f"SELECT max(begun_at) FROM vertebra_memory_receipts WHERE tenant = ? "
        f"AND subject IN ({', '.join('?' * len(names))})",
        *(tenant, *names),
    )
    if forgotten is not None and forgotten[0] is not None and item.updated_at <= forgotten[0]:
        return False
    where = "tenant = ? AND namespace = ? AND key = ?"
    if tx.execute(f"DELETE FROM vertebra_memory_items WHERE {where} AND expires_at <= ?", *place, tx.now()):
        tx.execute(f"DELETE FROM vertebra_memory_item_vectors WHERE {where}", *place)
    new = tx.execute(
        "INSERT INTO vertebra_memory_items (tenant, namespace, key, value, created_at, updated_at, ttl_minutes, "
        "expires_at, position) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
        "(SELECT coalesce(max(position), 0) + 1 FROM vertebra_memory_items WHERE tenant = ?)) ON CONFLICT DO NOTHING",
        *(*place, content.ITEM.seal(tx, json.dumps(item.value, ensure_ascii=False), *of)),
        *(item.created_at, item.updated_at, item.ttl_minutes, item.expires_at, tenant),
    )
    for path, vector in item.vectors.items() if new else ():
        tx.execute(
            "INSERT INTO vertebra_memory_item_vectors (tenant, namespace, key, path, vector) VALUES (?, ?, ?, ?, ?)",
            *(*place, path, content.ITEM_VECTOR.seal_bytes(tx, vector, *of, path)),
        )
    return bool(new)


def _vectors(tx: Tx, tenant: str, namespace: Namespace, key: str) -> dict[str, bytes]:
    rows = tx.all(
        "SELECT path, vector FROM vertebra_memory_item_vectors WHERE tenant = ? AND namespace = ? AND key = ? "
        "ORDER BY path",
        *(tenant, encoded(namespace), key),
    )
    of = (tenant, ".".join(namespace), key)
    return {path: bytes(content.ITEM_VECTOR.unseal_bytes(tx, vector, *of, path)) for path, vector in rows}
