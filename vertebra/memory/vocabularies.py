"""tiktoken as a counter of tokens, if the vocabulary of its encoding lies on this machine already.

tiktoken downloads a vocabulary that it does not find in its cache, or finds changed. So the cache is looked into first:
for what the encoding's constructor would load, by the URLs and digests that it names.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vertebra.errors import MissingExtra, UsageError
from vertebra.memory.counting import TokenCounter, encoded

_DIGEST = re.compile("[0-9a-f]{64}")


def tiktoken_counter(encoding: str = "o200k_base") -> TokenCounter:
    """Count by an encoding of tiktoken, whose vocabulary is in tiktoken's cache on this machine. Opens no network.

    Raises ``UsageError`` for an unknown encoding and for one that is not at hand, ``MissingExtra`` without tiktoken.
    """
    try:
        import tiktoken
        from tiktoken import registry
    except ImportError as error:
        raise MissingExtra("Counting by tiktoken needs it.", remedy="pip install tiktoken") from error
    known = tiktoken.list_encoding_names()
    if encoding not in known:
        raise UsageError(f"tiktoken has no encoding {encoding!r}.", remedy=f"known: {', '.join(known)}.")
    constructors: Any = registry.ENCODING_CONSTRUCTORS
    if not _at_hand(constructors[encoding]):
        raise UsageError(
            f"The vocabulary of {encoding!r} is not in tiktoken's cache, {str(_cache() or 'which is off')!r}.",
            remedy="fill a folder by tiktoken.get_encoding() where there is a network, bring it here and name it by "
            "TIKTOKEN_CACHE_DIR; or count by an Estimator.",
        )
    # Ordinary: what looks like a special token in what somebody said is a text like any other.
    return encoded(tiktoken.get_encoding(encoding).encode_ordinary)


def _at_hand(constructor: Callable[..., Any]) -> bool:
    """Whether all files that it names are cached as they should be; False where it names none."""
    code = getattr(constructor, "__code__", None)
    names = [constant for constant in getattr(code, "co_consts", ()) if isinstance(constant, str)]
    digests = {name for name in names if _DIGEST.fullmatch(name)}
    urls = [name for name in names if re.match(r"\w+://", name)]
    return bool(urls) and all(_digest(url) in digests for url in urls)


def _digest(url: str) -> str | None:
    folder = _cache()
    try:
        data = None if folder is None else (folder / hashlib.sha1(url.encode()).hexdigest()).read_bytes()
    except OSError:
        return None
    return None if data is None else hashlib.sha256(data).hexdigest()


def _cache() -> Path | None:
    """Where tiktoken keeps what it has loaded; None if it is told to keep nothing."""
    default = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))
    return Path(folder) if folder else None
