"""The books: in memory, on disk, and of a model in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import openai

from vertebra.testing import BookEntry, Books, ScriptedModel

MESSAGES = [{"role": "user", "content": "hello"}]


def test_repeats_are_of_one_request_under_one_key(client, model):
    for key in ("a", "b", "b"):
        client.chat.completions.create(model="m", messages=MESSAGES, extra_headers={"Idempotency-Key": key})
    entries = list(model.books)
    assert model.books.repeats() == {(entries[0].digest, "b"): 2}
    assert model.books.paid_by_key() == {"a": 1, "b": 2}
    assert all(entry.authorized for entry in entries)
    assert entries[0].input_tokens > 0


def test_books_on_disk_hold_all_and_no_secret(tmp_path):
    path = tmp_path / "books.jsonl"
    with ScriptedModel(books_path=path) as model:
        model.on("hello").fail(500)
        with openai.OpenAI(base_url=model.base_url, api_key="sk-secret", max_retries=0) as client:
            for _ in range(2):
                try:
                    client.chat.completions.create(model="m", messages=MESSAGES)
                except openai.InternalServerError:
                    # It is in the file before it is answered.
                    assert len(Books.read(path)) == 1
        assert list(Books.read(path)) == list(model.books)
    assert "secret" not in path.read_text()


def test_a_half_written_line_and_absent_books_are_no_error(tmp_path):
    path = tmp_path / "books.jsonl"
    assert len(Books.read(path)) == 0
    entry = BookEntry(1.0, "/v1/x", None, "d", None, False, 200, 1, 1, True, True)
    Books(path).enter(entry)
    Books(path).undelivered(entry)
    with path.open("a") as file:
        file.write('{"at": 1.0, "pa')
    assert [one.delivered for one in Books.read(path)] == [False]


CLIENT = """
import openai, os, signal, sys
client = openai.OpenAI(base_url=sys.argv[1], api_key="k")
answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
print(answer.choices[0].message.content, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_model_in_its_own_process_outlives_a_killed_client(tmp_path):
    path = tmp_path / "books.jsonl"
    command = [sys.executable, "-m", "vertebra.testing.scripted_model", "--port", "0", "--books", str(path)]
    # Its standard input is at its end, as under many a CI: that must not stop it.
    server = subprocess.Popen(
        [*command, "--sampled"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=_root(), env=_env()
    )
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        runs = [subprocess.run([sys.executable, "-c", CLIENT, base_url], stdout=subprocess.PIPE) for _ in range(2)]
        assert [run.returncode for run in runs] == [-signal.SIGKILL] * 2
        assert runs[0].stdout != runs[1].stdout
        assert len(Books.read(path).paid()) == 2
        assert json.loads(path.read_text().splitlines()[0])["status"] == 200
        server.terminate()
        assert server.wait(10) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def _root() -> Path:
    return Path(__file__).parents[2]


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_root())}
