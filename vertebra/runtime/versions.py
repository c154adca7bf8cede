"""Whether a thread may go on under the graph as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertebra.errors import GraphChanged
from vertebra.graphs.shape import difference
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


def require_same_shape(app: App, record: ThreadRecord, *, ended_too: bool = False) -> None:
    """Raise ``GraphChanged`` where a thread was started by another shape of the graph.

    One that has ended is let through unless ``ended_too``: nothing of it goes on.
    """
    if record.fingerprint == app.fingerprint:
        return
    if record.status in ("done", "cancelled") and not ended_too:
        return
    lines = difference(record.shape, app.shape)
    raise GraphChanged(
        f"Thread {record.thread!r} was started by graph {record.graph!r} version {record.version!r}, "
        "which has changed since:\n" + "\n".join(f"  {line}" for line in lines) + "\n",
        thread=record.thread,
        graph=app.name,
    )
