"""Store URLs: which database, and the options that ride in them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Literal, cast
from urllib.parse import quote, unquote

from vertebra.errors import StoreUrlInvalid

Backend = Literal["memory", "sqlite", "postgresql"]
Durability = Literal["power", "process"]
_SQLITE_REMEDY = "use sqlite:///relative.db or sqlite:////absolute/path.db."
_OPTIONS_REMEDY = "known: durability=power, durability=process."


@dataclass(frozen=True, slots=True, repr=False)
class StoreUrl:
    """A parsed URL. ``path`` is the file of SQLite; ``dsn`` is what Postgres's driver gets.

    ``durability``: ``power`` (default) survives a power cut: each commit is synced to disk;
    ``process`` survives the death of the process only, and is faster.
    """

    backend: Backend
    path: str = ""
    dsn: str = ""
    durability: Durability = "power"

    @classmethod
    def parse(cls, url: str) -> StoreUrl:
        """Read ``memory://``, ``sqlite:///file``, ``postgresql://...``. Raises ``StoreUrlInvalid``.

        A path takes ``%`` escapes. What Postgres's driver is to understand reaches it letter by letter.
        """
        scheme, separator, rest = url.partition("://")
        if not separator:
            raise StoreUrlInvalid(f"{redacted(url)!r} is not a store URL.")
        place, _, query = rest.partition("?")
        if scheme in ("postgresql", "postgres"):
            durability, others = _options(query)
            dsn = f"postgresql://{place}{'?' if others else ''}{'&'.join(others)}"
            return cls("postgresql", dsn=dsn, durability=durability)
        if scheme not in ("memory", "sqlite"):
            raise StoreUrlInvalid(f"{scheme!r} is not a kind of store.")
        durability, others = _options(query)
        if others:
            raise StoreUrlInvalid(f"Unknown option {others[0].partition('=')[0]!r} in the URL.", remedy=_OPTIONS_REMEDY)
        if scheme == "memory":
            if place.strip("/"):
                raise StoreUrlInvalid(
                    f"memory:// has no name or path, and {redacted(place)!r} is one.", remedy="use memory:// alone."
                )
            return cls("memory")
        path = unquote(place)
        if not path.startswith("/") or path == "/" or "\0" in path:
            raise StoreUrlInvalid(f"{redacted(url)!r} names no file.", remedy=_SQLITE_REMEDY)
        if path == "/:memory:":
            raise StoreUrlInvalid("SQLite in memory would be two databases here.", remedy="use memory://.")
        return cls("sqlite", path=path[1:], durability=durability)

    def absolute(self) -> StoreUrl:
        """The same with a path that stays the same when the process changes its folder."""
        return replace(self, path=os.path.abspath(self.path)) if self.backend == "sqlite" else self

    def __str__(self) -> str:
        """A URL that opens the same store, but for a password."""
        if self.backend == "memory":
            return "memory://"
        text = f"sqlite:///{quote(self.path)}" if self.backend == "sqlite" else redacted(self.dsn)
        if self.durability == "power":
            return text
        return f"{text}{'&' if '?' in text else '?'}durability={self.durability}"

    def __repr__(self) -> str:
        return f"StoreUrl({str(self)!r})"


def _options(query: str) -> tuple[Durability, list[str]]:
    """Our own option, and the others as they stand."""
    durability, others = "power", []
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        if unquote(name) == "durability":
            durability = unquote(value)
        else:
            others.append(option)
    if durability not in ("power", "process"):
        raise StoreUrlInvalid(f"durability={durability!r} is unknown.", remedy=_OPTIONS_REMEDY)
    return cast(Durability, durability), others


def redacted(url: str) -> str:
    """The text without its passwords, however unwisely they are written: better too little shown than too much."""
    url = re.sub(r"(://[^:@/?]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(password=)('[^']*'|[^&\s]*)", r"\1***", url)
