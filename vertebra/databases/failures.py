"""What the drivers raise, as errors of ours: what happened, to which database, and what to do next."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from vertebra.databases.url import StoreUrl, redacted
from vertebra.errors import MissingExtra, StoreCorrupt, StoreUnavailable, UsageError, VertebraError

UNSTORABLE = "leave out what no database takes: NUL characters and halves of surrogate pairs in ids and texts."


def driver_errors(url: StoreUrl) -> AbstractContextManager[None]:
    """Within, whatever the database's driver raises comes out as ``StoreError`` or ``UsageError``."""
    return _postgres_errors(url) if url.backend == "postgresql" else _sqlite_errors(url)


def closed(what: str) -> StoreUnavailable:
    """For whoever comes after ``close()``."""
    return StoreUnavailable(f"The {what} is closed.", remedy="open it again, or close it later.", closed=True)


def require_postgres() -> None:
    """Raise ``MissingExtra`` without the driver and its pool."""
    try:
        import psycopg  # noqa: F401
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "PostgreSQL needs its driver.", remedy="pip install 'vertebra[postgres]'", extra="postgres"
        ) from error


@contextmanager
def _sqlite_errors(url: StoreUrl) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DataError, UnicodeEncodeError, OverflowError) as error:
        raise _unstorable(error) from error
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(
            f"SQLite store {url}: {error}.", remedy=_sqlite_remedy(str(error)), path=url.path
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(f"SQLite store {url} cannot be read: {error}.", path=url.path) from error


def _sqlite_remedy(message: str) -> str:
    if "full" in message:
        return "free disk space, then resume the thread."
    if "readonly" in message:
        return "make the file and its folder writable, then resume the thread."
    if "locked" in message:
        return "another process holds the file for long; stop it, or share threads through Postgres."
    return "check that the folder exists and can be written, then resume the thread."


@contextmanager
def _postgres_errors(url: StoreUrl) -> Iterator[None]:
    import psycopg

    try:
        yield
    except (psycopg.DataError, UnicodeEncodeError) as error:
        raise _unstorable(error) from error
    except psycopg.Error as error:
        raise _postgres_error(error, url) from error


def _postgres_error(error: Exception, url: StoreUrl) -> VertebraError:
    import psycopg.errors as kinds
    from psycopg_pool import PoolTimeout, TooManyRequests

    if isinstance(error, kinds.ProgramLimitExceeded):
        return UsageError(
            f"The database refuses a value: {_said(error)}.",
            remedy="use shorter ids: PostgreSQL indexes at most some 2,700 bytes.",
        )
    message = f"PostgreSQL at {url}: {redacted(' '.join(_said(error).split()))}."
    if isinstance(error, kinds.InsufficientPrivilege):
        return StoreUnavailable(
            message, remedy="grant the user CREATE on the schema and all rights on its tables, then resume the thread."
        )
    if isinstance(
        error, kinds.TooManyConnections | kinds.ConfigurationLimitExceeded | PoolTimeout | TooManyRequests
    ) or ("too many" in message):
        return StoreUnavailable(
            message,
            remedy="check that the database can be reached and takes more connections (max_connections, limits of role "
            "and database), or let fewer processes share it; then resume the thread.",
        )
    if isinstance(error, kinds.DiskFull):
        return StoreUnavailable(message, remedy="free disk space on the server, then resume the thread.")
    if isinstance(
        error,
        kinds.UndefinedTable
        | kinds.UndefinedColumn
        | kinds.IntegrityError
        | kinds.DataCorrupted
        | kinds.IndexCorrupted,
    ):
        return StoreCorrupt(message)
    return StoreUnavailable(message)


def _unstorable(error: Exception) -> UsageError:
    return UsageError(f"The database refuses a value: {_said(error)}.", remedy=UNSTORABLE)


def _said(error: Exception) -> str:
    """Of a server's message the first part: details and context quote what was to be written."""
    said: str | None = getattr(getattr(error, "diag", None), "message_primary", None)
    return said or str(error)
