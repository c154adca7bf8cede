"""``vertebra recover`` among threads of which one is damaged: it is told of, and the others go on."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

from tests.cli.conftest import Shell
from vertebra.checkpointers.sqlite.tables import key_of

KILLER = """
import asyncio, os, signal

from pydantic import BaseModel

from vertebra import END, START, Append, Graph, llm, transition

THREADS = ("a", "b", "c")
arrived = []


class Log(BaseModel):
    notes: Append[str] = []


@transition
def first(state: Log) -> dict:
    return {"notes": [str(n) * 300 for n in range(40)]}


@llm
async def last(state: Log) -> dict:
    if "DIE" in os.environ:
        arrived.append(state)
        if len(arrived) == len(THREADS):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(60)
    return {"notes": ["end"]}


graph = Graph(Log, name="killer")
graph.add_edge(START, first).add_edge(first, last).add_edge(last, END)


async def run_all():
    app = graph.compile(checkpointer="sqlite:///vertebra.db", default_model="none")
    await asyncio.gather(*(app.run({}, thread_id=thread) for thread in THREADS))
"""


def test_one_damaged_thread_keeps_no_other_from_being_recovered(shell: Shell) -> None:
    (shell.folder / "killer.py").write_text(KILLER)
    script = "import asyncio, killer; asyncio.run(killer.run_all())"
    env = {**shell.env, "DIE": "1"}
    died = subprocess.run([sys.executable, "-c", script], cwd=shell.folder, env=env, timeout=60)
    assert died.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(shell.folder / "vertebra.db", isolation_level=None)) as database:
        (number,) = database.execute("SELECT number FROM vertebra_state_threads WHERE thread = 'b'").fetchone()
        pieces = (key_of(number, 0), key_of(number + 1, 0) - 1)
        assert database.execute("DELETE FROM vertebra_state_pieces WHERE key BETWEEN ? AND ?", pieces).rowcount > 0
    runs = {run["thread"]: run for run in shell.json("recover", "killer:graph", code=5)}
    assert {name: run["status"] for name, run in runs.items()} == {"a": "done", "b": "running", "c": "done"}
    assert runs["b"]["error"]["code"] == "store_corrupt"
    assert runs["a"]["output"]["notes"][-1] == "end"
    told = shell("recover", "killer:graph")
    assert (told.returncode, told.stdout.splitlines()) == (5, ["thread b: running; 0 calls"])
    assert "Traceback" not in told.stderr
    assert "restore the database from a backup" in told.stderr
    with closing(sqlite3.connect(shell.folder / "vertebra.db")) as database:
        left = database.execute("SELECT thread, recoveries FROM vertebra_threads WHERE status <> 'done'").fetchall()
    assert left == [("b", 0)]
