"""What this process remembers of threads in Postgres, learned from the database where it is a thread's first writer."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from functools import partial
from typing import Any

from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.pieces.decoding import Decoder
from vertebra.checkpointers.pieces.memo import Latest, Sequence, ThreadMemo
from vertebra.checkpointers.postgres import tables
from vertebra.checkpointers.postgres.marking import KIND, MarkingSerializer
from vertebra.checkpointers.postgres.writing import reserve

THREADS = 512  # of which something is remembered
FIRST_RESERVE, NEXT_RESERVE = 256, 4096

_MARKS = """
SELECT v.key AS channel, b.blob FROM checkpoints c
CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
CROSS JOIN LATERAL (
    SELECT type, blob FROM checkpoint_blobs
    WHERE thread_id = c.thread_id AND checkpoint_ns = c.checkpoint_ns AND channel = v.key AND version = v.value
    LIMIT 1
) AS b
WHERE c.thread_id = %s AND c.checkpoint_ns = %s AND c.checkpoint_id = %s AND b.type = %s
"""


class Memos:
    """By thread; None for a thread that plain LangGraph began, of which nothing is stored in pieces."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._memos: OrderedDict[str, ThreadMemo | None] = OrderedDict()

    def of(self, thread: str) -> ThreadMemo | None:
        """The memo of a thread, which is entered into the database if nobody has begun it. Hold the thread's lock."""
        with self._lock:
            if thread in self._memos:
                self._memos.move_to_end(thread)
                return self._memos[thread]
        entered = self._reserve(thread, FIRST_RESERVE)
        memo = None
        if entered is not None:
            number, reserved, generation = entered
            memo = ThreadMemo(thread, number, generation, deque([reserved]), self._reserve_more)
        with self._lock:
            self._memos[thread] = memo
            if len(self._memos) > THREADS:
                self._memos.popitem(last=False)
        return memo

    def forget(self, thread: str) -> None:
        """What is remembered of the thread may not be true any more."""
        with self._lock:
            self._memos.pop(thread, None)

    def learn(self, memo: ThreadMemo, namespace: str, checkpoint: str | None, serde: MarkingSerializer) -> None:
        """Remember what a put after this checkpoint can refer to, unless the namespace is known."""
        if checkpoint is None or namespace in memo.latest:
            return
        with self._pool.connection() as connection:
            marks = connection.execute(_MARKS, (memo.thread, namespace, checkpoint, KIND), binary=True).fetchall()
            refs = {row["channel"]: serde.ref_of(memo.thread, namespace, row["channel"], row["blob"]) for row in marks}
            decoder = Decoder(serde.codec.of(memo.thread), partial(tables.fetch, connection, memo.thread))
            decoder.warm(refs.values(), alive=False)
            for channel, (_, digits) in refs.items():
                memo.sequences[namespace, channel] = Sequence(None, False, *decoder.sequence(digits))
        memo.has_put(namespace, Latest(checkpoint, {}, {}))

    def _reserve(self, thread: str, count: int) -> tuple[int, tuple[int, int], int] | None:
        with self._pool.connection() as connection:
            row = reserve(connection, thread, count, current_lease.get())
        if row is None:
            return None
        return row["number"], (row["next_piece"] - count, row["next_piece"]), row["generation"]

    def _reserve_more(self, memo: ThreadMemo) -> None:
        entered = self._reserve(memo.thread, NEXT_RESERVE)
        if entered is not None:
            memo.reserved.append(entered[1])
