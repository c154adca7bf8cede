"""Stands between a test session and a server: when the session has gone, however it went, both server and data go.

Run as a script: ``guard.py SESSION_PID FOLDER UID:GID|- COMMAND...``; SIGTERM ends it, and then the server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time


def birth(pid: int) -> str | None:
    """When the process was born, for a pid alone proves nothing; None when it is no more."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            parts = stat.read().rpartition(")")[2].split()
        return None if parts[0] == "Z" else parts[19]
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
    try:  # a system without /proc
        os.kill(pid, 0)
    except OSError:
        return None
    return "unknown"


def main(session: int, folder: str, user: str, command: list[str]) -> None:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = birth(session)
    who = None if user == "-" else [int(part) for part in user.split(":")]
    server = (
        subprocess.Popen(command)
        if who is None
        else subprocess.Popen(command, user=who[0], group=who[1], extra_groups=[])
    )
    while server.poll() is None and not asked and first is not None and birth(session) == first:
        time.sleep(0.2)
    server.send_signal(signal.SIGINT)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait()
    if asked or first is None or birth(session) != first:
        shutil.rmtree(folder, ignore_errors=True)
    # Otherwise the server died by itself, and its log stays for the session to read.


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
