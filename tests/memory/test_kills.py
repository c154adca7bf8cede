"""A process that appends is killed at random instants and run again: each message once, and in order."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from tests.memory.parts import texts
from vertebra import open_memory

MESSAGES = 120
KILLS = 8

_WRITE = """
import sys
from vertebra import open_memory
url, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open_memory(url) as memory:
    conversation = memory.conversation("c", tenant="t")
    line = conversation.branch_sync(writer, at=0)
    print("ready", flush=True)
    for number in range(count):
        text = f"{writer} {number}"
        conversation.append_sync({"role": "user", "content": text}, key=f"main {text}")
        line.append_sync({"role": "user", "content": text}, key=f"line {text}")
        print(number, flush=True)
print("done", flush=True)
"""


def start(url: str, writer: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITE, url, writer, str(MESSAGES)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(300)
def test_killed_anywhere_and_run_again_each_message_is_there_once(durable_url: str) -> None:
    """Two writers at once; one of them is killed again and again, while it appends."""
    chance = random.Random(4)
    other = start(durable_url, "b")
    killed_at = []
    for _ in range(KILLS):
        process = start(durable_url, "a")
        assert process.stdout is not None
        upto = chance.randrange(MESSAGES // 4)
        for line in process.stdout:
            if line.strip() not in ("ready", "done") and int(line) >= upto:
                break
        time.sleep(chance.uniform(0, 0.01))
        process.kill()
        told = process.communicate(timeout=60)[0]
        killed_at.append((process.returncode, told))
    assert sum(code == -9 and "done" not in told for code, told in killed_at) > KILLS // 2
    for process in (start(durable_url, "a"), other):
        assert process.communicate(timeout=120)[0].endswith("done\n")
    with open_memory(durable_url) as memory:
        everything = texts(memory.conversation("c", tenant="t").messages_sync())
        for writer in "ab":
            expected = [f"{writer} {number}" for number in range(MESSAGES)]
            assert [text for text in everything if text.startswith(writer)] == expected
            assert texts(memory.conversation("c", tenant="t", branch=writer).messages_sync()) == expected
        assert memory.conversation("c", tenant="t").record_sync().messages == 4 * MESSAGES
        assert len(everything) == 2 * MESSAGES
