"""``vertebra rekey``: keys wrapped anew, and a plain database sealed, by the command in this process."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.checkpointers.encrypted import columns_with, new_key
from tests.cli.conftest import Said

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
    nothing = dict.fromkeys(("rows", "threads", "bytes_before", "bytes_after"))
    assert json.loads(said("rekey", "--json")) == {"wrapped": 2, **nothing}
    assert said("rekey") == "All keys of the database are wrapped under the first key.\n"
    under(old)
    said("threads", code=5)
    under(new)
    assert json.loads(said("show", "t", "--json"))["status"] == "interrupted"
    said("resume", "agents:graph", "t", "--answer", '{"ok": true}')
