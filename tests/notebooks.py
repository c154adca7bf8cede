"""The notebooks: sources in jupytext's percent format, executed in a real kernel, kept with what they show."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
CELL_S = 100
MACHINE = re.compile(r"/tmp/[^\s'\"<)]*|127\.0\.0\.1:\d+|0x[0-9a-f]{6,}")
"""What differs from one execution to the next, and from one machine to the next."""


def sources() -> list[Path]:
    """The files that one edits, in their order."""
    return sorted(FOLDER.glob("[0-9]*.py"))


def kept(source: Path) -> Path:
    """The notebook that is made of a source."""
    return source.with_suffix(".ipynb")


def executed(source: Path) -> Any:
    """The notebook of a source, executed by a kernel of its own in an empty folder. Raises where a cell does."""
    book = jupytext.read(source)
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            book,
            timeout=CELL_S,
            startup_timeout=CELL_S,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    return book


def written(book: Any) -> str:
    """A notebook as it is kept: with its outputs, and nothing of when and where it was executed."""
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "jupytext": {"formats": "ipynb,py:percent"},
    }
    for cell in book.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = MACHINE.sub("...", output["text"])
            for kind, data in output.get("data", {}).items():
                if isinstance(data, str) and kind.startswith("text/"):
                    output["data"][kind] = MACHINE.sub("...", data)
    return nbformat.writes(book) + "\n"
