"""``vertebra rekey``: the keys of a database under another key of its user, or all that is plain in it sealed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vertebra.cli.loading import encryption_key, open_store, require_store
from vertebra.cli.printing import counted
from vertebra.cli.terminal import Terminal
from vertebra.errors import EncryptionKeyMissing, UsageError

if TYPE_CHECKING:
    from vertebra.checkpointers.encrypting import Encrypted, Progress


def rekey(options: argparse.Namespace) -> int:
    """Wrap the keys anew, after sealing all content if that is asked for, and tell what was done.

    In no event loop: it awaits nothing, and a loop would put off the first Ctrl-C until the end.
    """
    key = encryption_key()
    if key is None:
        raise UsageError("No key is given.", remedy="set VERTEBRA_ENCRYPTION_KEY: the new key, then old ones.")
    encrypted = None
    if options.encrypt:
        from vertebra.checkpointers.encrypting import encrypt, require_file

        require_file(options.store)
        require_store(options.store)
        with _progress(as_json=options.json) as tell:
            encrypted = encrypt(options.store, key, tell)
    with open_store(options.store) as store:
        wrapped = store.rekey()
    plain_memory = None if encrypted is None else _has_plain_memory(options.store)
    if options.json:
        print(json.dumps(rekeyed_data(wrapped, encrypted, plain_memory=plain_memory)))
    else:
        print("\n".join(rekeyed_text(wrapped, encrypted, plain_memory=plain_memory)))
    return 0


def _has_plain_memory(url: str) -> bool:
    """Whether there is a memory in the same file, which has keys of its own, and none yet."""
    from vertebra.databases.looking import has_table
    from vertebra.databases.url import StoreUrl
    from vertebra.memory import open_memory
    from vertebra.memory.migrations import VERSIONS, is_empty

    if not has_table(StoreUrl.parse(url), VERSIONS):
        return False
    try:
        with open_memory(url) as memory:
            return not memory.database.run_sync(lambda tx: is_empty(tx, tx.backend))
    except EncryptionKeyMissing:
        return False


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


def rekeyed_data(wrapped: int, encrypted: Encrypted | None, *, plain_memory: bool | None) -> dict[str, Any]:
    """What was done, for ``--json``."""
    keys = ("rows", "threads", "bytes_before", "bytes_after")
    told = {key: encrypted and getattr(encrypted, key) for key in keys}
    return {"wrapped": wrapped, **told, "plain_memory": plain_memory}


def rekeyed_text(wrapped: int, encrypted: Encrypted | None, *, plain_memory: bool | None) -> Iterator[str]:
    """What was done, in lines."""
    if encrypted is not None:
        sealed = f"{counted(encrypted.rows, 'row')} of calls and runs, and the state of"
        if encrypted.rows or encrypted.threads:
            yield f"Sealed {sealed} {counted(encrypted.threads, 'thread')}."
        else:
            yield "Nothing was plain."
        yield f"The file was written anew: {encrypted.bytes_before:,} bytes before, {encrypted.bytes_after:,} now."
    if plain_memory:
        yield "The memory in the same file is still plain: export it without the key, import it with the key elsewhere."
    if wrapped:
        yield f"Wrapped {counted(wrapped, 'key')} of the database anew. Older keys open nothing any more."
    else:
        yield "All keys of the database are wrapped under the first key."
