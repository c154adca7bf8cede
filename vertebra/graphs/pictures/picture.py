"""A drawn graph: as SVG, PNG, text, DOT or Mermaid, and as what a notebook shows."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertebra.errors import MissingExtra, UsageError
from vertebra.graphs.pictures.palette import Theme
from vertebra.graphs.pictures.sketch import Sketch

if TYPE_CHECKING:
    from vertebra.graphs.pictures.plans import Plan

SUFFIXES = {
    ".svg": "svg",
    ".png": "png",
    ".txt": "text",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
}
THEMES = ("auto", "light", "dark")


class Picture:
    """What ``graph.draw()`` gives. Each form is made when it is asked for, and then kept; nothing is sent anywhere.

    ``svg``, ``text``, ``dot`` and ``mermaid`` are texts, ``png`` is bytes. The same graph gives the same picture, byte
    for byte. In a notebook it shows itself; printed, it is its text. ``theme``: of the SVG and the PNG, ``light``,
    ``dark``, or ``auto`` (as whoever looks prefers; a PNG is then light).

    Example::

        picture = graph.draw()
        print(picture)
        picture.save("docs/agent.svg")
    """

    def __init__(self, sketch: Sketch, *, theme: Theme = "auto") -> None:
        if theme not in THEMES:
            raise UsageError(f"There is no theme {theme!r}.", remedy=f"one of {', '.join(THEMES)}.")
        self.sketch = sketch
        self.theme: Theme = theme

    @cached_property
    def _plan(self) -> Plan:
        from vertebra.graphs.pictures.arranging import arrange
        from vertebra.graphs.pictures.svg import PIXELS

        return arrange(self.sketch, PIXELS)

    def _svg(self, theme: Theme) -> str:
        from vertebra.graphs.pictures.svg import to_svg

        return to_svg(self._plan, theme)

    @cached_property
    def svg(self) -> str:
        """An SVG file: no script, no font, nothing from elsewhere."""
        return self._svg(self.theme)

    @cached_property
    def png(self) -> bytes:
        """A PNG file, two pixels for each of the SVG. Needs the extra ``jupyter``; raises ``MissingExtra``."""
        from vertebra.graphs.pictures.png import to_png
        from vertebra.graphs.pictures.svg import size_of

        return to_png(self._svg("light" if self.theme == "auto" else self.theme), size_of(self._plan))

    @cached_property
    def text(self) -> str:
        """Unicode box drawing, as wide as it must be; see ``text_in`` for a terminal."""
        return self.text_in(None)

    def text_in(self, width: int | None) -> str:
        """The text for so many columns: where the drawing is wider, each node with where it leads."""
        from vertebra.graphs.pictures.text import to_text

        return to_text(self.sketch, width)

    @cached_property
    def dot(self) -> str:
        """Graphviz's notation."""
        from vertebra.graphs.pictures.notations import to_dot

        return to_dot(self.sketch)

    @cached_property
    def mermaid(self) -> str:
        """Mermaid's flowchart notation."""
        from vertebra.graphs.pictures.notations import to_mermaid

        return to_mermaid(self.sketch)

    def save(self, path: str | Path) -> Path:
        """Write it as the file's ending says: .svg .png .txt .dot .gv .mmd. Raises ``UsageError``, ``OSError``."""
        target = Path(path)
        form = SUFFIXES.get(target.suffix.lower())
        if form is None:
            raise UsageError(f"{target.name!r} names no form of a picture.", remedy=f"one of {', '.join(SUFFIXES)}.")
        content = getattr(self, form)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """SVG, PNG and text. A notebook that is not trusted drops the SVG and shows the PNG."""
        from vertebra.graphs.pictures.svg import size_of

        shown: dict[str, Any] = {"image/svg+xml": self.svg, "text/plain": self.text}
        details: dict[str, Any] = {}
        try:
            import base64

            shown["image/png"] = base64.b64encode(self.png).decode()
            width, height = size_of(self._plan)
            details["image/png"] = {"width": round(width), "height": round(height)}
        except MissingExtra:
            pass  # what is left can be read
        return shown, details

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        nodes = sum(box.kind not in ("start", "end") for box in self.sketch.boxes)
        return f"<Picture of {self.sketch.title!r}: {nodes} nodes>"


__all__ = ["Picture"]
