"""How much one thread may record, in bytes of requests and answers: counted once, then kept count of.

A thread has one writer, so the process that drives it knows what it has recorded since. An answer that is paid for is
recorded whatever its size: what is refused is the call after it.
"""

from __future__ import annotations

import threading

from vertebra.databases.database import Tx
from vertebra.databases.sealing import TEXT_MARK
from vertebra.errors import JournalFull

_RECORDED = "SELECT request, length(answer_body) FROM vertebra_calls WHERE thread = ?"


class Allowance:
    """What is left to a thread of ``max_bytes``. Safe in any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._recorded: int | None = None
        self._lock = threading.Lock()

    def require(self, tx: Tx, thread: str, request: str | None) -> None:
        """Raise ``JournalFull`` if a call that asks this has no room."""
        with self._lock:
            if self._recorded is None:
                rows = tx.all(_RECORDED, thread)
                # Length in bytes, which SQL has no one name for.
                self._recorded = sum(_size_kept(asked) + int(answered or 0) for asked, answered in rows) - _size(
                    request
                )
            recorded = self._recorded
        if recorded + _size(request) > self._max_bytes:
            raise JournalFull(
                f"Thread {thread!r} has recorded {recorded:,} bytes of calls, and may record {self._max_bytes:,}: "
                f"this call, of {_size(request):,}, was not sent.",
                thread=thread,
            )

    def add(self, text: str | bytes | None) -> None:
        """Count what was recorded."""
        with self._lock:
            if self._recorded is not None:
                self._recorded += _size(text)


def _size(text: str | bytes | None) -> int:
    return 0 if text is None else len(text.encode() if isinstance(text, str) else text)


def _size_kept(stored: str | None) -> int:
    """Of a request as it stands in the database: as it was before it was sealed, but for some bytes."""
    if stored is None or not stored.startswith(TEXT_MARK):
        return _size(stored)
    return (len(stored) - len(TEXT_MARK)) * 3 // 4
