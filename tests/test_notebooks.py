"""The notebooks are executed in a real kernel; what is kept of them are their sources, with small outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from tests.notebooks import MACHINE, executed, kept, sources

KEPT_BYTES = 400_000


def code(book: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in book.cells]


def texts(book: Any) -> str:
    """All that a notebook shows, but for its pictures."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    return "\n".join(
        [output["text"] for output in outputs if "text" in output]
        + [data for output in outputs for kind, data in output.get("data", {}).items() if kind.startswith("text/")]
    )


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)
def test_each_notebook_runs(source: Path) -> None:
    assert any(cell.get("outputs") for cell in executed(source).cells)


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)
def test_each_notebook_is_kept_as_its_source_is(source: Path) -> None:
    book = nbformat.read(kept(source), as_version=4)
    nbformat.validate(book)
    assert code(book) == code(jupytext.read(source)), "run scripts/make-notebooks"
    assert kept(source).stat().st_size < KEPT_BYTES
    assert not MACHINE.search(texts(book))
    assert "Traceback" not in texts(book)


def test_nothing_else_is_kept_there() -> None:
    books = {path.stem for path in sources()[0].parent.glob("*.ipynb")}
    assert books == {source.stem for source in sources()}
