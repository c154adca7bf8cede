"""Importing the package stays light, and its public names are what the reference says."""

import subprocess
import sys

HEAVY = ("langgraph", "langchain_core", "openai", "networkx", "httpx", "httpx2")


def test_the_import_is_light() -> None:
    code = (
        "import sys, vertebra; from vertebra import Graph, START, END; "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
