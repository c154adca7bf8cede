"""A connection to a SQLite file that begins no transaction once another file, or none, stands in its place.

SQLite goes on with the file that it has open, so that what is written after a deletion is nowhere; after a
replacement its log is taken for the new file's (sqlite.org/howtocorrupt.html, "Unlinking or renaming a database file
while in use").
"""

from __future__ import annotations

import os
import sqlite3

from vertebra.errors import StoreUnavailable


class FileConnection(sqlite3.Connection):
    """``keep_to`` its file, then ``begin`` transactions. In memory it has none."""

    _path: str | None = None
    _opened: tuple[int, int] | None = None

    def keep_to(self, path: str) -> None:
        """Call it when the file is open."""
        self._path, self._opened = path, _identity(path)

    def begin(self, statement: str) -> None:
        """Raises ``StoreUnavailable`` when the file is not in its place any more."""
        if self._path is not None and (found := _identity(self._path)) != self._opened:
            what = "deleted" if found is None else "replaced"
            raise StoreUnavailable(
                f"The file {self._path} was {what} while it was open.",
                remedy="stop every process that has it open, remove the old -wal and -shm files beside it, put the "
                "file in its place, then resume the threads.",
                path=self._path,
            )
        self.execute(statement)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
