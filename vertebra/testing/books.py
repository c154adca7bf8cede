"""The books of a scripted model: every request that reached it, and what was paid for."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One request. ``paid``: a complete 2xx answer was produced; ``delivered``: it was all to be sent."""

    at: float
    path: str
    model: str | None
    digest: str
    idempotency_key: str | None
    authorized: bool
    status: int
    input_tokens: int
    output_tokens: int
    paid: bool
    delivered: bool


class Books:
    """Entries in memory and, with a path, as JSON Lines that survive their process."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = Path(path) if path is not None else None
        self._entries: list[BookEntry] = []
        self._lock = threading.Lock()

    def enter(self, entry: BookEntry) -> None:
        """Add an entry; on disk in one write before this returns."""
        with self._lock:
            self._entries.append(entry)
            if self._path is not None:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                try:
                    os.write(descriptor, (json.dumps(asdict(entry)) + "\n").encode())
                finally:
                    os.close(descriptor)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Books:
        """The books that another process keeps; empty if there are none yet."""
        books = cls()
        file = Path(path)
        if file.exists():
            books._entries = [BookEntry(**json.loads(line)) for line in file.read_text().splitlines()]
        return books

    def __iter__(self) -> Iterator[BookEntry]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def paid(self) -> list[BookEntry]:
        """The entries that cost money."""
        return [entry for entry in self if entry.paid]

    def paid_by_digest(self) -> Counter[str]:
        """How often each request was paid."""
        return Counter(entry.digest for entry in self.paid())

    def paid_by_key(self) -> Counter[str]:
        """How often each idempotency key was paid: more than once is a call paid twice."""
        return Counter(entry.idempotency_key or "" for entry in self.paid())

    def repeats(self) -> dict[tuple[str, str | None], int]:
        """Requests paid more than once under one idempotency key."""
        counted = Counter((entry.digest, entry.idempotency_key) for entry in self.paid())
        return {key: count for key, count in counted.items() if count > 1}
