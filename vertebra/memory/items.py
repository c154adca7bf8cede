"""The rows of LangGraph's store: values under a namespace and a key, in the order in which they came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory import content

PAGE = 500
COLUMNS = "i.namespace, i.key, i.value, i.created_at, i.updated_at, i.position"
LIVE = "(i.expires_at IS NULL OR i.expires_at > ?)"

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A value as it is kept; times are Unix seconds. ``position`` grows with each new key of the tenant."""

    namespace: Namespace
    key: str
    value: dict[str, Any]
    created_at: float
    updated_at: float
    position: int


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is to be kept as JSON, or None: to be deleted. ``vectors``: of its texts, by their paths."""

    namespace: Namespace
    key: str
    value: str | None
    ttl_minutes: float | None = None
    vectors: Mapping[str, bytes] | None = None


def encoded(namespace: Namespace) -> bytes:
    """Bytes, which every database compares alike. No label has a period in it."""
    return ".".join(namespace).encode()


def item_of(tx: Tx, tenant: str, row: Sequence[Any]) -> Item:
    """From a row of ``COLUMNS``. Raises ``EncryptionError``, ``StoreCorrupt``."""
    namespace, key, stored, created, updated, position = row
    value = content.ITEM.read(tx, stored, json.loads, tenant, bytes(namespace).decode(), key)
    return Item(_decoded(namespace), key, value, float(created), float(updated), int(position))


def _decoded(namespace: Any) -> Namespace:
    return tuple(bytes(namespace).decode().split("."))


def get(tx: Tx, tenant: str, namespace: Namespace, key: str, *, refresh: bool) -> Item | None:
    """The item, if it is there and has not expired; ``refresh``: its time to live begins anew."""
    place, now = (tenant, encoded(namespace), key), tx.now()
    row = tx.one(
        f"SELECT {COLUMNS} FROM vertebra_memory_items i "
        f"WHERE i.tenant = ? AND i.namespace = ? AND i.key = ? AND {LIVE}",
        *(*place, now),
    )
    if row is None:
        return None
    if refresh:
        _refresh(tx, place, now)
    return item_of(tx, tenant, row)


def refresh(tx: Tx, tenant: str, found: Sequence[Item]) -> None:
    """Let the time to live of these items begin anew."""
    now = tx.now()
    for item in found:
        _refresh(tx, (tenant, encoded(item.namespace), item.key), now)


def _refresh(tx: Tx, place: tuple[str, bytes, str], now: float) -> None:
    tx.execute(
        "UPDATE vertebra_memory_items SET expires_at = ? + ttl_minutes * 60 "
        "WHERE tenant = ? AND namespace = ? AND key = ? AND ttl_minutes IS NOT NULL",
        *(now, *place),
    )


def under(tx: Tx, tenant: str, prefix: Namespace) -> Iterator[Item]:
    """The items under a prefix of namespaces, in the order in which they came, page by page."""
    where, values = _under(prefix)
    after, now = 0, tx.now()
    while True:
        rows = tx.all(
            f"SELECT {COLUMNS} FROM vertebra_memory_items i "
            f"WHERE i.tenant = ? AND i.position > ? AND {LIVE}{where} ORDER BY i.position LIMIT ?",
            *(tenant, after, now, *values, PAGE),
        )
        yield from (item_of(tx, tenant, row) for row in rows)
        if len(rows) < PAGE:
            return
        after = int(rows[-1][-1])


def vectors_under(tx: Tx, tenant: str, prefix: Namespace) -> dict[tuple[Namespace, str], list[bytes]]:
    """The vectors of the items under a prefix."""
    where, values = _under(prefix)
    rows = tx.all(
        f"SELECT i.namespace, i.key, i.path, i.vector FROM vertebra_memory_item_vectors i WHERE i.tenant = ?{where} "
        "ORDER BY i.namespace, i.key, i.path",
        *(tenant, *values),
    )
    found: dict[tuple[Namespace, str], list[bytes]] = {}
    for namespace, key, path, vector in rows:
        opened = content.ITEM_VECTOR.unseal_bytes(tx, vector, tenant, bytes(namespace).decode(), key, path)
        found.setdefault((_decoded(namespace), key), []).append(bytes(opened))
    return found


def _under(prefix: Namespace) -> tuple[str, list[bytes]]:
    if not prefix:
        return "", []
    name = encoded(prefix)
    # "/" comes after "." in every encoding that has both: what lies between begins with the prefix and a period.
    return " AND (i.namespace = ? OR (i.namespace >= ? AND i.namespace < ?))", [name, name + b".", name + b"/"]


def namespaces(tx: Tx, tenant: str) -> list[Namespace]:
    """Each namespace that has an item."""
    rows = tx.all(
        f"SELECT DISTINCT i.namespace FROM vertebra_memory_items i WHERE i.tenant = ? AND {LIVE}", tenant, tx.now()
    )
    return [_decoded(row[0]) for row in rows]


def change(tx: Tx, tenant: str, changes: Sequence[Change]) -> None:
    """Put and delete, in their order. A key that is there keeps its place and the time at which it was made."""
    lock(tx, tenant)
    now = tx.now()
    for one in changes:
        place = (tenant, encoded(one.namespace), one.key)
        of = (tenant, ".".join(one.namespace), one.key)
        tx.execute("DELETE FROM vertebra_memory_item_vectors WHERE tenant = ? AND namespace = ? AND key = ?", *place)
        if one.value is None:
            tx.execute("DELETE FROM vertebra_memory_items WHERE tenant = ? AND namespace = ? AND key = ?", *place)
            continue
        tx.execute(
            "DELETE FROM vertebra_memory_items WHERE tenant = ? AND namespace = ? AND key = ? AND expires_at <= ?",
            *(*place, now),
        )
        tx.execute(
            "INSERT INTO vertebra_memory_items (tenant, namespace, key, value, created_at, updated_at, ttl_minutes, "
            "expires_at, position) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
            "(SELECT coalesce(max(position), 0) + 1 FROM vertebra_memory_items WHERE tenant = ?)) "
            "ON CONFLICT (tenant, namespace, key) DO UPDATE SET value = excluded.value, "
            "updated_at = excluded.updated_at, ttl_minutes = excluded.ttl_minutes, expires_at = excluded.expires_at",
            *(*place, content.ITEM.seal(tx, one.value, *of), now, now, one.ttl_minutes),
            *(None if one.ttl_minutes is None else now + one.ttl_minutes * 60, tenant),
        )
        for path, vector in (one.vectors or {}).items():
            tx.execute(
                "INSERT INTO vertebra_memory_item_vectors (tenant, namespace, key, path, vector) "
                "VALUES (?, ?, ?, ?, ?)",
                *(*place, path, content.ITEM_VECTOR.seal_bytes(tx, vector, *of, path)),
            )


def lock(tx: Tx, tenant: str) -> None:
    """One writer of a tenant's items: each new one has a place after all others."""
    tx.lock(json.dumps(["vertebra memory items", tenant]))


def forget(tx: Tx, tenant: str, subject: str) -> int:
    """Delete the items of the first namespace that has the subject as one of its labels; how many there were."""
    rows = tx.all("SELECT DISTINCT namespace FROM vertebra_memory_items WHERE tenant = ?", tenant)
    for namespace in sorted(bytes(row[0]) for row in rows):
        if subject in _decoded(namespace):
            tx.execute("DELETE FROM vertebra_memory_item_vectors WHERE tenant = ? AND namespace = ?", tenant, namespace)
            return tx.execute("DELETE FROM vertebra_memory_items WHERE tenant = ? AND namespace = ?", tenant, namespace)
    return 0


def expire(tx: Tx, tenant: str) -> int:
    """Delete what has expired; how many items that was."""
    now = tx.now()
    tx.execute(
        "DELETE FROM vertebra_memory_item_vectors WHERE tenant = ? AND EXISTS (SELECT 1 FROM vertebra_memory_items i "
        "WHERE i.tenant = vertebra_memory_item_vectors.tenant AND i.namespace = vertebra_memory_item_vectors.namespace "
        "AND i.key = vertebra_memory_item_vectors.key AND i.expires_at <= ?)",
        *(tenant, now),
    )
    return tx.execute("DELETE FROM vertebra_memory_items WHERE tenant = ? AND expires_at <= ?", tenant, now)
