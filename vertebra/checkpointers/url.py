"""Store URLs: which database, and the options that ride in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from vertebra.errors import StoreUrlInvalid

Backend = Literal["memory", "sqlite", "postgresql"]
OWN_OPTIONS = {"durability": ("power", "process")}


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed URL. ``path`` is the file of SQLite; ``dsn`` is what Postgres's driver gets.

    ``durability``: ``power`` (default) survives a power cut: each commit is synced to disk;
    ``process`` survives the death of the process only, and is faster.
    """

    backend: Backend
    path: str = ""
    dsn: str = ""
    durability: Literal["power", "process"] = "power"

    @classmethod
    def parse(cls, url: str) -> StoreUrl:
        """Read ``memory://``, ``sqlite:///file``, ``postgresql://...``. Raises ``StoreUrlInvalid``."""
        scheme, separator, rest = url.partition("://")
        if not separator:
            raise StoreUrlInvalid(f"{redacted(url)!r} is not a store URL.")
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        durability = options.pop("durability", "power")
        if durability not in OWN_OPTIONS["durability"]:
            raise StoreUrlInvalid(
                f"durability={durability!r} is unknown.", remedy="use durability=power or durability=process."
            )
        if scheme == "memory":
            _no_more(options)
            return cls("memory")
        if scheme == "sqlite":
            _no_more(options)
            path = unquote(rest.partition("?")[0])
            if not path.startswith("/") or path == "/":
                raise StoreUrlInvalid(
                    f"{url!r} names no file.", remedy="use sqlite:///relative.db or sqlite:////absolute/path.db."
                )
            return cls("sqlite", path=path[1:], durability=durability)  # type: ignore[arg-type]
        if scheme in ("postgresql", "postgres"):
            dsn = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options), ""))
            return cls("postgresql", dsn=dsn, durability=durability)  # type: ignore[arg-type]
        raise StoreUrlInvalid(f"{scheme!r} is not a kind of store.")

    def __str__(self) -> str:
        if self.backend == "sqlite":
            return f"sqlite:///{self.path}"
        return redacted(self.dsn) if self.dsn else "memory://"


def redacted(url: str) -> str:
    """The URL without its password."""
    url = re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&\s]*", r"\1***", url)


def _no_more(options: dict[str, str]) -> None:
    if options:
        raise StoreUrlInvalid(f"Unknown option {next(iter(options))!r} in the URL.", remedy="known: durability.")
