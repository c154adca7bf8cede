"""The command, forked from a process that has imported what it needs: its start is mostly imports.

It is a process of its own all the same, with its own streams, folder and environment. What is started to be killed, to
stand on a terminal, or to read from a pipe, is started from nothing.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.campaigns import drives
from tests.servers.preloaded import PATIENCE_S, Preloaded

WARM = "tests.cli.forking:warm"


def run_forked(
    parent: Preloaded, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run ``vertebra`` to its end. Raises ``subprocess.TimeoutExpired``."""
    with tempfile.TemporaryDirectory() as folder:
        told = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "folder": folder}
        ended = parent.run("tests.cli.forking:command", told)
        if ended.hung:
            raise subprocess.TimeoutExpired(["vertebra", *arguments], PATIENCE_S)
        code = ended.status if ended.result is None else ended.result
        said, complained = (Path(folder, name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(["vertebra", *arguments], code, said, complained)


def command(ready: drives.Ready, arguments: Sequence[str], cwd: str, env: Mapping[str, str], folder: str) -> int:
    """As the script of that name does, in a process that was set up for it: its exit code."""
    from vertebra.cli.main import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["vertebra", *arguments]
    warnings.simplefilter("error")
    ready()
    try:
        return main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def warm(ready: drives.Ready) -> list[str]:
    """Names of all modules that the command may need, and of those that a run does."""
    import vertebra

    for found in pkgutil.walk_packages(vertebra.__path__, "vertebra."):
        if not found.name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed
                importlib.import_module(found.name)
    return drives.warm(ready)
