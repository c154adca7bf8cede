"""Who may write a thread, and when a writer counts as dead. Pure but for reading this host's facts.

A lease names host, boot, process and the moment the process started. It is dead when it has run out
by the database's clock; on the same host and boot it is dead at once when its process is gone. A
bare pid proves nothing: pids are reused, and containers count their own.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, or one runner within it, that holds a lease."""

    host: str
    boot: str
    pid: int
    started: str
    token: str

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Holder:
        """The inverse of ``to_text``. Raises ``TypeError`` and ``ValueError`` for what it has not written."""
        holder = cls(**json.loads(text))
        if not isinstance(holder.pid, int):
            raise TypeError("a pid is a number")
        return holder

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one thread in one run, until it runs out or is taken over under a higher epoch."""

    thread: str
    holder: Holder
    epoch: int
    ttl_s: float
    run_id: str


def new_holder() -> Holder:
    """A holder for one runner of this process."""
    return Holder(socket.gethostname(), _boot(), os.getpid(), process_start(os.getpid()) or UNKNOWN, uuid.uuid4().hex)


@functools.cache
def _boot() -> str:
    """This boot of this machine and, within it, the namespace in which pids are counted."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return UNKNOWN


def process_start(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None if it is gone or is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if Path("/proc/self/stat").exists() else UNKNOWN
    # The command in parentheses may hold anything; state and start time (fields 3 and 22) come after it.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def is_dead(holder: Holder, lease_until: float, database_now: float) -> bool:
    """Whether the lease can be taken over."""
    if database_now >= lease_until:
        return True
    if holder.boot == UNKNOWN or holder.boot != _boot() or holder.host != socket.gethostname():
        return False
    started = process_start(holder.pid)
    return started is None or (UNKNOWN not in (started, holder.started) and started != holder.started)
