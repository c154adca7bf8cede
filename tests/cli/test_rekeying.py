"""``vertebra rekey``: keys wrapped anew, and a plain database sealed, by the command in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.checkpointers.encrypted import columns_with, new_key
from tests.cli.conftest import Said
from vertebra import open_memory

TEXT, URL = "asthmatic", "sqlite:///vertebra.db"
RUN = ("run", "agents:graph", "--input", json.dumps({"text": TEXT}), "--thread", "t")


@pytest.fixture
def under(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the command these keys."""
    return lambda *keys: monkeypatch.setenv("VERTEBRA_ENCRYPTION_KEY", ",".join(keys))


def test_a_plain_database_is_sealed_and_its_key_replaced(said: Said, under: Callable[..., None]) -> None:
    said(*RUN, code=3)
    assert columns_with(URL, TEXT)
    assert "VERTEBRA_ENCRYPTION_KEY" in said("rekey", "--encrypt", code=2)
    old, new = new_key(), new_key()
    under(old)
    assert "vertebra rekey --encrypt" in said("rekey", code=5)
    sealed = json.loads(said("rekey", "--encrypt", "--json"))
    assert (sealed["threads"], sealed["wrapped"]) == (1, 0)
    assert sealed["rows"] > 4
    assert columns_with(URL, TEXT) == set()
    assert said("rekey", "--encrypt").startswith("Nothing was plain.\nThe file was written anew: ")
    under(new, old)
    nothing = dict.fromkeys(("rows", "threads", "bytes_before", "bytes_after", "plain_memory"))
    assert json.loads(said("rekey", "--json")) == {"wrapped": 2, **nothing}
    assert said("rekey") == "All keys of the database are wrapped under the first key.\n"
    under(old)
    said("threads", code=5)
    under(new)
    assert json.loads(said("show", "t", "--json"))["status"] == "interrupted"
    said("resume", "agents:graph", "t", "--answer", '{"ok": true}')


def test_a_plain_memory_in_the_same_file_is_told_of(said: Said, under: Callable[..., None]) -> None:
    said(*RUN, code=3)
    with open_memory(URL):
        pass  # an empty one has nothing plain
    key = new_key()
    under(key)
    assert json.loads(said("rekey", "--encrypt", "--json"))["plain_memory"] is False
    with open_memory(URL) as memory:
        memory.conversation("c").append_sync({"role": "user", "content": TEXT})
    assert "The memory in the same file is still plain" in said("rekey", "--encrypt")
    assert json.loads(said("rekey", "--encrypt", "--json"))["plain_memory"] is True


def test_what_is_no_file_is_refused_before_it_is_asked_for(said: Said, under: Callable[..., None]) -> None:
    under(new_key())
    refused = said("rekey", "--encrypt", "--store", "postgresql://127.0.0.1:9/none", code=2)
    assert "not encrypted in place" in refused


def test_one_interrupt_stops_it(said: Said, under: Callable[..., None]) -> None:
    """Not at its end, as an event loop would have it."""
    said(*RUN, code=3)
    under(new_key())
    script = (
        "import os, signal, sys\n"
        "from vertebra.cli.main import main\n"
        "from vertebra.ports import set_crash_hook\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what a suite in the background starts
        "def interrupt(name):\n"
        "    if name == 'encrypt.row': set_crash_hook(None); os.kill(os.getpid(), signal.SIGINT)\n"
        "set_crash_hook(interrupt)\n"
        "sys.exit(main(['rekey', '--encrypt']))\n"
    )
    stopped = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert "plain content may be left in the file until the same command has come to its end" in stopped.stderr
    assert columns_with(URL, TEXT), "it was stopped before anything was sealed"
