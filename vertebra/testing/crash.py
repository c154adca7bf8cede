"""Named crash points: kill this process for real at a chosen instant."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from vertebra.ports import (
    CRASH_POINTS,
    ENCRYPTING_CRASH_POINTS,
    FORGET_CRASH_POINTS,
    PRUNING_CRASH_POINTS,
    set_crash_hook,
)

How = Literal["kill", "exit"]


@contextmanager
def crash_at(point: str, *, nth: int = 1, how: How = "kill") -> Iterator[None]:
    """Die when ``point`` is reached for the ``nth`` time: by SIGKILL, or by ``os._exit(137)``.

    Meant for a child process; the parent then recovers the thread. ``CRASH_POINTS`` has the names.

    Raises ``ValueError`` for a name that does not exist.
    """
    known = (*CRASH_POINTS, *FORGET_CRASH_POINTS, *PRUNING_CRASH_POINTS, *ENCRYPTING_CRASH_POINTS)
    if point not in known:
        raise ValueError(f"{point!r} is no crash point; there are {', '.join(known)}")
    lock, reached = threading.Lock(), 0

    def hook(name: str) -> None:
        nonlocal reached
        if name != point:
            return
        with lock:
            reached += 1
            if reached == nth:
                die(how)

    set_crash_hook(hook)
    try:
        yield
    finally:
        set_crash_hook(None)


def die(how: How = "kill") -> None:
    """End this process at once, with no cleaning up."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)


__all__ = ["CRASH_POINTS", "How", "crash_at", "die"]
