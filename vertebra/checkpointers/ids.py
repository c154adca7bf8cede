"""What a checkpoint's id says: LangGraph's are UUIDs of version 6, which begin with the time.

The latest checkpoint of a thread is the one with the highest id. Made on a machine whose clock is behind, a new one
would sort before those that are there: the thread would stand still for ever, and look as if it had not.
"""

from __future__ import annotations

import time
import uuid

from vertebra.errors import ClockSetBack

PATIENCE_S = 10.0
"""Clocks of several machines differ; a thread that changes machines waits for so long."""

_EPOCH = 0x01B21DD213814000
"""1970 in the time of UUIDs: 100 ns since 15 October 1582 (RFC 9562, section 5.1)."""


def made_at(checkpoint_id: str) -> float | None:
    """When the checkpoint was made by the clock of its machine, Unix seconds; None where the id does not say."""
    try:
        found = uuid.UUID(checkpoint_id)
    except ValueError:
        return None
    if found.version != 6:
        return None
    number = found.int
    ticks = (number >> 96) << 28 | (number >> 80 & 0xFFFF) << 12 | number >> 64 & 0x0FFF
    return (ticks - _EPOCH) / 1e7


def wait_s(latest_id: str, thread: str) -> float:
    """How long to wait until a checkpoint made here comes after ``latest_id``. Raises ``ClockSetBack``."""
    made = made_at(latest_id)
    ahead_s = 0.0 if made is None else made - time.time()
    if ahead_s > PATIENCE_S:
        raise ClockSetBack(
            f"This machine's clock is {ahead_s:.0f} s behind the latest checkpoint of thread {thread!r}.", thread=thread
        )
    return max(ahead_s, 0.0)


def require_later(new_id: str, parent_id: str | None, thread: str) -> None:
    """Raise ``ClockSetBack`` for a checkpoint that would sort before the one that it follows."""
    if parent_id is None or new_id > parent_id or made_at(new_id) is None or made_at(parent_id) is None:
        return
    raise ClockSetBack(
        f"This machine's clock was set back: a checkpoint of thread {thread!r} would come before its parent.",
        thread=thread,
    )
