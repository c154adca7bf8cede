"""One transaction that writes, in one round trip: pieces, writes, a checkpoint, and the proof that it may be written.

What is sent between two syncs of a pipeline is one transaction. So nothing in it may sync: LangGraph's saver, which
would, is given a pipeline that does not. The lease is asked for last, since whoever takes the thread over waits for
this transaction from then on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.errors import DivisionByZero, InvalidArgumentForLogarithm, InvalidArgumentForPowerFunction

from vertebra.checkpointers.fencing import HELD, held_arguments, lost
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.migrations import KEYS
from vertebra.checkpointers.pieces.memo import ThreadMemo
from vertebra.checkpointers.postgres import tables
from vertebra.databases.sealing import key_missing

_HELD = HELD.replace("?", "%s")
_REQUIRE_HELD = f"SELECT 1 / count(*) FROM ({_HELD} FOR SHARE) AS held"
"""Fails (22012) where the lease is lost, so that nothing in its pipeline is committed."""


_REQUIRE_NO_KEYS = f"SELECT ln((NOT EXISTS (SELECT 1 FROM {KEYS}))::int)"
"""Fails (2201E) where there are keys by now, for who writes plain content."""


class Stale(Exception):
    """Pieces of the thread may have been deleted since: begin anew with what is stored now."""


class _NoSync:
    def sync(self) -> None: ...


@contextmanager
def written(
    connection: Any,
    serde: Any,
    lease: Lease | None,
    memo: ThreadMemo | None = None,
    pieces: Sequence[tuple[int, bytes]] = (),
    *,
    keyless: bool = False,
) -> Iterator[PostgresSaver]:
    """LangGraph's saver on this connection: all that it is told within is durable afterwards, or nothing is.

    ``keyless``: of a store that was opened without a key; a lease, if there is one, proves that it has none still.
    Raises ``LeaseLost``, ``EncryptionKeyMissing``, and ``Stale`` if the memo's thread has another generation.
    """
    try:
        with connection.pipeline(), _all_or_nothing(connection):
            if memo is not None:
                connection.execute(tables.REQUIRE_GENERATION, (memo.number, memo.generation))
            if pieces:
                numbers, data = zip(*pieces, strict=True)
                connection.execute(tables.PUT_PIECES, (memo and memo.number, list(numbers), list(data)))
            no_sync: Any = _NoSync()
            yield PostgresSaver(connection, pipe=no_sync, serde=serde)
            if lease is not None:
                connection.execute(_REQUIRE_HELD, held_arguments(lease))
            elif keyless:
                connection.execute(_REQUIRE_NO_KEYS)
    except InvalidArgumentForPowerFunction as error:
        raise Stale from error
    except InvalidArgumentForLogarithm as error:
        raise key_missing() from error
    except DivisionByZero as error:
        if lease is None:
            raise
        raise lost(lease) from error


def look(connection: Any, lease: Lease) -> None:
    """Raise ``LeaseLost`` if it is lost by now. Proves nothing of later."""
    if not connection.execute(_HELD, held_arguments(lease)).fetchall():
        raise lost(lease)


@contextmanager
def changing(connection: Any, threads: Sequence[str], lease: Lease | None) -> Iterator[None]:
    """A transaction that may delete what these threads have stored: no checkpoint of theirs is written meanwhile."""
    with connection.transaction():
        for thread in sorted(threads):
            connection.execute("SELECT 1 FROM vertebra_state_threads WHERE thread = %s FOR UPDATE", (thread,))
        if lease is not None and not connection.execute(f"{_HELD} FOR SHARE", held_arguments(lease)).fetchall():
            raise lost(lease)
        yield


@contextmanager
def _all_or_nothing(connection: Any) -> Iterator[None]:
    """What was sent before an error of ours would be committed by the sync at the pipeline's end."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT 1 / 0")
        raise
