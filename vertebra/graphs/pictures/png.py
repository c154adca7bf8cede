"""A picture as PNG, drawn by resvg: no browser, no network."""

from __future__ import annotations

import functools
from typing import Any

from vertebra.errors import MissingExtra

ZOOM = 2.0
"""Pixels of the PNG for each of the SVG: screens of today are fine."""
MOST = 12_000
"""The longest side in pixels; a larger picture is drawn smaller."""


def to_png(svg: str, size: tuple[float, float]) -> bytes:
    """The PNG of an SVG of that size. Raises ``MissingExtra`` without resvg-py, or where no font is installed."""
    if not _has_fonts():
        raise MissingExtra(
            "There is no font on this machine to draw a PNG with.",
            remedy="install one (Debian: apt-get install fonts-dejavu-core), or use .svg, which needs none.",
        )
    zoom = min(ZOOM, MOST / max(size))
    return _render(svg, zoom=zoom)


def _render(svg: str, **options: Any) -> bytes:
    try:
        import resvg_py
    except ImportError as error:
        raise MissingExtra(
            "A PNG needs resvg-py, which is not installed.", remedy="pip install vertebra[jupyter], or use .svg."
        ) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, sans_serif_family="DejaVu Sans", **options))


@functools.cache
def _has_fonts() -> bool:
    """Whether a letter leaves any mark: without a font, text is left out and nothing says so."""
    frame = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    letter = '<text x="2" y="16" font-size="16" font-family="sans-serif">M</text>'
    return _render(frame.format(letter)) != _render(frame.format(""))


__all__ = ["to_png"]
