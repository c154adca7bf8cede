"""``vertebra graph show`` and ``vertebra graph draw``: a graph as a picture, with a run or another version over it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vertebra.cli.loading import load_graph, require_store
from vertebra.cli.terminal import Terminal
from vertebra.errors import UsageError
from vertebra.graphs.pictures.picture import SUFFIXES, Picture


def show(options: argparse.Namespace) -> int:
    """Print the picture as text; in a terminal, as wide as that is."""
    print(_picture(options).text_in(Terminal.of(sys.stdout).width), end="")
    return 0


def draw(options: argparse.Namespace) -> int:
    """Write the picture to a file, or to standard output."""
    form = options.format or form_of(options.output)
    picture = _picture(options)
    if options.output is not None:
        write(picture, options.output, form)
        print(f"Wrote {options.output}.")
        return 0
    if form == "png" and sys.stdout.isatty():
        raise UsageError("A PNG is nothing for a terminal.", remedy="add -o FILE, or send it to a file.")
    sys.stdout.buffer.write(_content(picture, form))
    sys.stdout.buffer.flush()
    return 0


def write(picture: Picture, output: str, form: str) -> None:
    """Write one form of a picture to a file. Raises ``UsageError``."""
    data = _content(picture, form)
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise UsageError(f"{output!r} cannot be written: {error.strerror}.", remedy="name another file.") from error


def _content(picture: Picture, form: str) -> bytes:
    content = getattr(picture, form)
    return content if isinstance(content, bytes) else content.encode()


def form_of(output: str | None) -> str:
    """The form that a file's name asks for. Raises ``UsageError``."""
    if output is None:
        return "svg"
    form = SUFFIXES.get(Path(output).suffix.lower())
    if form is None:
        raise UsageError(
            f"{output!r} does not say in which format.", remedy=f"end it in {', '.join(SUFFIXES)}, or add --format."
        )
    return form


def _picture(options: argparse.Namespace) -> Picture:
    graph: Any = load_graph(options.graph)
    how = {"depth": options.depth, "theme": getattr(options, "theme", "auto")}
    if options.run is not None and options.diff is not None:
        raise UsageError("A picture shows a run or a difference, not both.", remedy="leave out --run or --diff.")
    if options.run is not None:
        require_store(options.store)
        with graph.compile(checkpointer=options.store) as app:
            picture: Picture = app.draw_sync(options.run, **how)
            return picture
    if options.diff is not None:
        return difference(load_graph(options.diff), graph, **how)
    return graph.draw(**how)  # type: ignore[no-any-return]


def difference(old: Any, new: Any, **how: Any) -> Picture:
    """The picture of what changed between two versions. Raises ``UsageError``."""
    if not (hasattr(old, "definition") and hasattr(new, "definition")):
        raise UsageError("A graph adopted from LangGraph has no versions to draw.", remedy="see graph diff.")
    picture: Picture = new.draw(diff=old, **how)
    return picture
