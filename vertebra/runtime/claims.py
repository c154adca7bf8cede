"""Who writes which plain field in a superstep, so that a second writer fails before anything is stored.

LangGraph finds two writers only when it joins their writes. By then both are durable, and a thread that
is resumed would join the same two for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from vertebra.errors import ParallelWrites
from vertebra.runtime.siblings import Superstep


class Claims:
    """The fields without a reducer that tasks of one drive have written, by superstep."""

    def __init__(self) -> None:
        self._owners: dict[Superstep, dict[str, tuple[str, str]]] = {}

    def take(self, superstep: Superstep, task_id: str, node: str, fields: Iterable[str]) -> None:
        """Claim ``fields`` for a task. Raises ``ParallelWrites`` where another task of the superstep has one."""
        fields = list(fields)
        owners = self._owners.setdefault(superstep, {})
        for field in fields:
            owner, other = owners.get(field, (task_id, node))
            if owner != task_id:
                raise ParallelWrites(
                    f"Nodes {other!r} and {node!r} wrote the field {field!r} in one superstep, and it has no reducer.",
                    node=node,
                    field=field,
                )
        owners.update(dict.fromkeys(fields, (task_id, node)))
