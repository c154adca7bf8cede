"""The line that a thread says things on: that of the conversation, or from where it was forked a branch of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory import changing, reading
from vertebra.memory.place import NAME_BYTES, Place


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A thread that was forked, and the last superstep of it that the fork shares."""

    thread: str
    step: int


@dataclass(frozen=True, slots=True)
class Line:
    """Where a thread reads and appends. ``fork``: the thread, if it is one; ``ancestors``: nearest first."""

    base: Place
    fork: str | None = None
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def place(self) -> Place:
        """The branch; there may be none of this name yet."""
        return self.base if self.fork is None else _own(self.base, self.fork)

    def to_plain(self) -> list[Any]:
        """As data of JSON."""
        return [*self.base.scope, self.base.branch, self.fork, [[a.thread, a.step] for a in self.ancestors]]

    @classmethod
    def of_plain(cls, data: Sequence[Any]) -> Line:
        """The inverse of ``to_plain``."""
        tenant, id, branch, fork, ancestors = data
        return cls(Place(tenant, id, branch), fork, tuple(Ancestor(thread, int(step)) for thread, step in ancestors))


def begin(tx: Tx, line: Line, subject: str | None) -> Place:
    """The branch of the line, begun where the fork left its ancestors if it is not there yet.

    It shares what was said before, by whomever, and nothing that an ancestor said in a later superstep.
    """
    if line.fork is None or reading.has_branch(tx, line.place):
        return line.place
    left: list[Ancestor] = []
    before = line.base
    for ancestor in line.ancestors:
        left.append(ancestor)
        own = _own(line.base, ancestor.thread)
        if ancestor is not line.ancestors[-1] and reading.has_branch(tx, own):
            before = own
            break
    cuts = [reading.first_after(tx, before, a.thread, a.step) for a in left]
    limit = min((cut for cut in cuts if cut is not None), default=None)
    newest = reading.messages(tx, before, subject, last=1, before=limit, after=None)
    changing.branch(tx, before, subject, line.place.branch, newest[0].id if newest else 0)
    return line.place


def _own(base: Place, thread: str) -> Place:
    name = f"{base.branch}~{thread}"
    if len(name.encode()) > NAME_BYTES:
        name = f"{base.branch[:40]}~{hashlib.sha256(name.encode()).hexdigest()}"
    return Place(*base.scope, name)
