"""``vertebra rekey``: keys wrapped anew, and a plain database sealed, by the command in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.checkpointers.encrypted import columns_with, new_key
from tests.cli.conftest import Said, Shell
from vertebra import open_memory
from vertebra.databases.looking import has_table
from vertebra.databases.url import StoreUrl
from vertebra.errors import EncryptionKeyWrong

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
    nothing = dict.fromkeys(("memory_wrapped", "rows", "threads", "bytes_before", "bytes_after", "plain_memory"))
    assert json.loads(said("rekey", "--json")) == {"wrapped": 2, **nothing, "memory_of_others": False}
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


def remember(url: str, key: str) -> None:
    with open_memory(url, encryption=key) as memory:
        memory.conversation("c").append_sync({"role": "user", "content": TEXT})


def count_of(url: str, key: str) -> int:
    """The messages that were remembered, read under a key."""
    with open_memory(url, encryption=key) as memory:
        return len(memory.conversation("c").messages_sync())


def test_threads_and_memory_of_one_database_are_rekeyed_together(shell: Shell, durable_url: str) -> None:
    old, new = new_key(), new_key()
    stored = ("--store", durable_url)
    ran = shell(*RUN, *stored, VERTEBRA_ENCRYPTION_KEY=old)
    assert ran.returncode == 3, ran.stderr
    remember(durable_url, old)
    told = shell("rekey", *stored, VERTEBRA_ENCRYPTION_KEY=f"{new},{old}")
    assert told.stdout.startswith("Wrapped 4 keys of the database anew, 2 of them of its memory.\n"), told
    assert "Older keys open nothing in it any more." in told.stdout
    again = json.loads(shell("rekey", "--json", *stored, VERTEBRA_ENCRYPTION_KEY=f"{new},{old}").stdout)
    assert (again["wrapped"], again["memory_wrapped"], again["memory_of_others"]) == (0, 0, False)
    for refused in (("threads", *stored), ("memory", "ls", "--memory", durable_url)):
        failed = shell(*refused, "--json", VERTEBRA_ENCRYPTION_KEY=old)
        assert (failed.returncode, json.loads(failed.stdout)["error"]["code"]) == (5, "encryption_key_wrong")
        assert shell(*refused, VERTEBRA_ENCRYPTION_KEY=new).returncode == 0
    assert count_of(durable_url, new) == 1
    resumed = shell("resume", "agents:graph", "t", "--answer", '{"ok": true}', *stored, VERTEBRA_ENCRYPTION_KEY=new)
    assert resumed.returncode == 0, resumed.stderr


def test_a_memory_of_another_key_in_the_same_database_stays_as_it_is(said: Said, under: Callable[..., None]) -> None:
    old, new, other = new_key(), new_key(), new_key()
    under(old)
    said(*RUN, code=3)
    remember(URL, other)
    under(new, old)
    assert said("rekey").splitlines()[-1] == (
        "But its memory is under none of the keys that were given, and stays as it is."
    )
    assert json.loads(said("rekey", "--json"))["memory_of_others"] is True
    assert count_of(URL, other) == 1
    remember(URL, f"{old},{other}")
    assert "not among those given" in said("rekey", code=5), "one of its keys is there, another is not"


def test_a_memory_of_its_own_is_rekeyed(shell: Shell, durable_url: str) -> None:
    old, new = new_key(), new_key()
    remember(durable_url, old)
    rekey = ("memory", "rekey", "--memory", durable_url)
    assert "VERTEBRA_ENCRYPTION_KEY" in shell(*rekey).stderr
    told = shell(*rekey, VERTEBRA_ENCRYPTION_KEY=f"{new},{old}")
    assert told.stdout == "Wrapped 2 keys of the memory anew. Older keys open nothing of it any more.\n", told
    assert shell(*rekey, "--json", VERTEBRA_ENCRYPTION_KEY=f"{new},{old}").stdout == '{"wrapped": 0}\n'
    assert shell(*rekey, VERTEBRA_ENCRYPTION_KEY=old).returncode == 5
    with pytest.raises(EncryptionKeyWrong):
        open_memory(durable_url, encryption=old)
    assert count_of(durable_url, new) == 1


def test_a_database_without_memory_is_left_as_it_is(said: Said, under: Callable[..., None]) -> None:
    said(*RUN, code=3)
    under(new_key())
    assert "no memory" in said("memory", "rekey", "--memory", URL, code=5)
    assert not has_table(StoreUrl.parse(URL), "vertebra_memory_keys")


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
