"""tiktoken counts if its vocabulary is at hand; whatever is not, no network is opened for it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

URL = "https://vocabularies.invalid/mine.tiktoken"
VOCABULARY = b"".join(
    base64.b64encode(token) + f" {rank}\n".encode()
    for rank, token in enumerate([*(bytes((byte,)) for byte in range(256)), b"no", b"now"])
)

# A plug-in as tiktoken takes them: tiktoken's own load, cache and encoder are at work.
PLUGIN = f"""
from tiktoken.load import load_tiktoken_bpe


def mine():
    ranks = load_tiktoken_bpe({URL!r}, expected_hash={hashlib.sha256(VOCABULARY).hexdigest()!r})
    return {{
        "name": "mine",
        "pat_str": r"\\w+|\\W",
        "mergeable_ranks": ranks,
        "special_tokens": {{"<|endoftext|>": len(ranks)}},
    }}


def elsewhere():
    return mine()


ENCODING_CONSTRUCTORS = {{"mine": mine, "elsewhere": elsewhere}}
"""

COUNT = """
import json, sys
tried = []


def refuse(event, args):
    if event.startswith("socket."):
        tried.append(event)
        raise OSError("no network here")


sys.addaudithook(refuse)
from vertebra.errors import UsageError
from vertebra.memory import ChatMessage, tiktoken_counter
found = {}
for name in ("mine", "elsewhere", "o200k_base", "nobody's"):
    try:
        count = tiktoken_counter(name)
        found[name] = [count(ChatMessage(role="user", content=text)) for text in ("now now", "<|endoftext|>")]
    except UsageError as error:
        found[name] = str(error)
print(json.dumps({"found": found, "tried": tried}))
"""


@pytest.fixture
def counted(tmp_path: Path) -> Any:
    (tmp_path / "tiktoken_ext").mkdir()
    (tmp_path / "tiktoken_ext" / "mine.py").write_text(PLUGIN)

    def count(**env: str) -> dict[str, Any]:
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_CACHE_DIR")}
        path = os.pathsep.join([str(tmp_path), *sys.path])
        ran = subprocess.run(
            [sys.executable, "-c", COUNT],
            env={**kept, "PYTHONPATH": path, "TMPDIR": str(tmp_path), **env},
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(ran.stdout)
        assert found["tried"] == []
        return dict(found["found"])

    return count


def cached(folder: Path, data: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / hashlib.sha1(URL.encode()).hexdigest()).write_bytes(data)


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", None])
def test_what_is_cached_counts(counted: Any, tmp_path: Path, variable: str | None) -> None:
    folder = tmp_path / ("kept" if variable else "data-gym-cache")
    cached(folder, VOCABULARY)
    found = counted(**({variable: str(folder)} if variable else {}))
    # Around each message stand four tokens; a special token is what was said: "<", "|", nine letters, "|", ">".
    assert found["mine"] == [4 + 3, 4 + 13]
    for name in ("elsewhere", "o200k_base"):
        assert "not in tiktoken's cache" in found[name]
    assert "no encoding" in found["nobody's"]


def test_what_is_not_cached_is_not_fetched(counted: Any, tmp_path: Path) -> None:
    assert "TIKTOKEN_CACHE_DIR" in counted()["mine"]
    cached(tmp_path / "changed", VOCABULARY[:-1])
    assert "not in tiktoken's cache" in counted(TIKTOKEN_CACHE_DIR=str(tmp_path / "changed"))["mine"]
    assert list((tmp_path / "changed").iterdir()), "what tiktoken would take away and fetch again is left"
    assert "which is off" in counted(TIKTOKEN_CACHE_DIR="")["mine"]
