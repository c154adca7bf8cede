"""``vertebra rekey``: the keys of a database under another key of its user, or all that is plain in it sealed.

Threads and memory have keys of their own, and may share a database: where it holds both, both are wrapped anew.
``vertebra memory rekey`` is for a memory elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertebra.cli.loading import encryption_key, open_store, require_store
from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal
from vertebra.errors import StoreUnavailable, UsageError

if TYPE_CHECKING:
    from vertebra.checkpointers.encrypting import Encrypted, Progress
    from vertebra.memory import Memory


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What was done. ``wrapped``: keys of threads. ``memory_wrapped``: of the memory beside them; None: not sealed, or
    under none of the keys that were given, as ``memory_of_others`` says."""

    wrapped: int
    memory_wrapped: int | None = None
    memory_of_others: bool = False
    encrypted: Encrypted | None = None
    plain_memory: bool | None = None


def rekey(options: argparse.Namespace) -> int:
    """Wrap the keys anew, after sealing all content if that is asked for, and tell what was done.

    In no event loop: it awaits nothing, and a loop would put off the first Ctrl-C until the end.
    """
    key = _given_key()
    encrypted = None
    if options.encrypt:
        from vertebra.checkpointers.encrypting import encrypt, require_file

        require_file(options.store)
        require_store(options.store)
        with _progress(as_json=options.json) as tell:
            encrypted = encrypt(options.store, key, tell)
    with open_store(options.store) as store:
        wrapped = store.rekey()
    beside = _is_opened(options.store, key)
    done = Rekeyed(
        wrapped,
        memory_wrapped=_rekey_beside(options.store, key) if beside else None,
        memory_of_others=beside is False,
        encrypted=encrypted,
        plain_memory=None if encrypted is None else beside is None and _has_plain_memory(options.store),
    )
    print(json.dumps(rekeyed_data(done)) if options.json else "\n".join(rekeyed_text(done)))
    return 0


def rekey_memory(memory: Memory, options: argparse.Namespace) -> None:
    """The same of a memory alone, and tell what was done."""
    wrapped = memory.rekey()
    if options.json:
        print(json.dumps({"wrapped": wrapped}))
    elif wrapped:
        print(f"Wrapped {counted(wrapped, 'key')} of the memory anew. Older keys open nothing of it any more.")
    else:
        print("All keys of the memory are wrapped under the first key.")


def require_memory(url: str) -> None:
    """Refuse a database without memory, which opening with a key would begin. Raises ``StoreError``, ``UsageError``."""
    from vertebra.databases.looking import has_table
    from vertebra.databases.url import StoreUrl
    from vertebra.memory.migrations import VERSIONS

    _given_key()
    if not has_table(parsed := StoreUrl.parse(url), VERSIONS):
        raise StoreUnavailable(
            f"{parsed} has no memory of Vertebra, and was left as it is.", remedy="name another one with --memory."
        )


def _given_key() -> str:
    key = encryption_key()
    if key is None:
        raise UsageError("No key is given.", remedy="set VERTEBRA_ENCRYPTION_KEY: the new key, then old ones.")
    return key


def _is_opened(url: str, key: str) -> bool | None:
    """Whether a memory beside the threads is under any of the keys; None where it is not sealed, or not there."""
    from vertebra.databases.keys import provider_of
    from vertebra.databases.looking import has_table
    from vertebra.databases.url import StoreUrl
    from vertebra.databases.vault import is_wrapped
    from vertebra.memory.migrations import KEYS

    parsed = StoreUrl.parse(url)
    return is_wrapped(parsed, KEYS, provider_of(key)) if has_table(parsed, KEYS) else None


def _rekey_beside(url: str, key: str) -> int:
    from vertebra.memory import open_memory

    with open_memory(url, encryption=key) as memory:
        return memory.rekey()


def _has_plain_memory(url: str) -> bool:
    """Whether a memory that is in the same file, and has no keys, has content."""
    from vertebra.databases.looking import has_table
    from vertebra.databases.url import StoreUrl
    from vertebra.memory import open_memory
    from vertebra.memory.migrations import VERSIONS, is_empty

    if not has_table(StoreUrl.parse(url), VERSIONS):
        return False
    with open_memory(url) as memory:
        return not memory.database.run_sync(lambda tx: is_empty(tx, tx.backend))


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Progress]:
    """A line that is written over, where a person looks."""
    if as_json or not Terminal.of(sys.stderr).colour:
        yield lambda *_: None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False, markup=False, emoji=False).status("") as status:
        units = {
            "rows": "{:,} of {:,} rows of calls and runs sealed",
            "threads": "state of {:,} of {:,} threads sealed",
        }
        yield lambda what, done, of: status.update(units[what].format(done, of))


def rekeyed_data(done: Rekeyed) -> dict[str, Any]:
    """What was done, for ``--json``."""
    keys = ("rows", "threads", "bytes_before", "bytes_after")
    told = {key: done.encrypted and getattr(done.encrypted, key) for key in keys}
    return {
        "wrapped": done.wrapped,
        "memory_wrapped": done.memory_wrapped,
        **told,
        "plain_memory": done.plain_memory,
        "memory_of_others": done.memory_of_others,
    }


def rekeyed_text(done: Rekeyed) -> Iterator[str]:
    """What was done, in lines."""
    if (encrypted := done.encrypted) is not None:
        sealed = f"{counted(encrypted.rows, 'row')} of calls and runs, and the state of"
        if encrypted.rows or encrypted.threads:
            yield f"Sealed {sealed} {counted(encrypted.threads, 'thread')}."
        else:
            yield "Nothing was plain."
        yield f"The file was written anew: {encrypted.bytes_before:,} bytes before, {encrypted.bytes_after:,} now."
    if done.plain_memory:
        yield "The memory in the same file is still plain: export it without the key, import it with the key elsewhere."
    of_memory = done.memory_wrapped or 0
    if done.wrapped or of_memory:
        among = f", {of_memory} of them of its memory" if of_memory else ""
        yield f"Wrapped {counted(done.wrapped + of_memory, 'key')} of the database anew{among}."
        yield "Older keys open nothing in it any more. A memory elsewhere has keys of its own: vertebra memory rekey."
    else:
        yield "All keys of the database are wrapped under the first key."
    if done.memory_of_others:
        yield "But its memory is under none of the keys that were given, and stays as it is."
