"""Whether a thread may go on under the graph as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertebra.errors import GraphChanged
from vertebra.graphs.shape import difference
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


def require_same_shape(app: App, record: ThreadRecord) -> None:
    """Raise ``GraphChanged`` where a thread that has not ended was started by another shape of the graph."""
    if record.fingerprint == app.fingerprint or record.status in ("done", "cancelled"):
        return
    lines = difference(record.shape, app.shape)
    raise GraphChanged(
        f"Thread {record.thread!r} was started by graph {record.graph!r} version {record.version!r}, "
        "which has changed since:\n" + "\n".join(f"  {line}" for line in lines) + "\n",
        thread=record.thread,
        graph=app.name,
    )
