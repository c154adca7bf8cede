"""The forms of a picture: each is whole, safe to embed, and says so where it cannot be made."""

from __future__ import annotations

import pickle
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.graphs.pictures.gallery import GALLERY, State, chain, node
from vertebra import END, START, Graph, llm, transition
from vertebra.errors import UsageError
from vertebra.graphs.pictures import Picture
from vertebra.graphs.pictures.sketch import sketch_of
from vertebra.graphs.pictures.widths import cells, clean, fitted, pixels

NASTY = "</text><script>alert(1)</script>\x1b[31m\u202eevil\x00&\"'"


def nasty() -> Graph:
    graph = Graph(State, name=NASTY)
    first, second = node(llm, NASTY), node(transition, "plain")
    chain(graph, START, first)
    graph.add_conditional_edges(first, lambda state: "a", {NASTY: second, "b": END})
    return chain(graph, second, END)


@pytest.mark.parametrize("name", GALLERY)
def test_an_svg_is_xml_that_needs_nothing_from_elsewhere(name: str) -> None:
    svg = GALLERY[name]().draw().svg
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|<script|<image|<foreignObject|href=", svg)


def test_names_are_text_in_every_form() -> None:
    picture = nasty().draw()
    root = ET.fromstring(picture.svg)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert any("<script>" in (element.text or "") for element in root.iter()), "shown, as text"
    for form in (picture.svg, picture.text, picture.dot, picture.mermaid):
        assert not set(form) & {"\x00", "\x1b", "\u202e"}
    assert all(line.count('"') % 2 == 0 for line in picture.dot.replace('\\"', "").splitlines())
    assert "<script>" not in picture.mermaid


def test_a_png_is_twice_as_large_as_the_svg_and_has_its_text() -> None:
    picture = GALLERY["linear"]().draw()
    png = picture.png
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    root = ET.fromstring(picture.svg)
    assert abs(width - 2 * float(root.attrib["width"])) <= 2
    assert abs(height - 2 * float(root.attrib["height"])) <= 2
    assert png != Graph(State, name="x").draw().png
    assert GALLERY["linear"]().draw(theme="dark").png != png


def test_a_notebook_is_given_svg_png_and_text_and_no_mermaid() -> None:
    data, details = GALLERY["linear"]()._repr_mimebundle_()
    assert set(data) == {"image/svg+xml", "image/png", "text/plain"}
    assert details["image/png"]["width"] > 100


def test_without_resvg_a_png_says_what_is_missing_and_a_notebook_has_the_rest() -> None:
    code = (
        "import sys; sys.modules['resvg_py'] = None\n"
        "from vertebra.graphs.pictures.sketch import Sketch, Box\n"
        "from vertebra.graphs.pictures import Picture\n"
        "picture = Picture(Sketch('x', (Box('a', 'a', 'plain'),), ()))\n"
        "assert set(picture._repr_mimebundle_()[0]) == {'image/svg+xml', 'text/plain'}\n"
        "picture.png"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra" in ran.stderr
    assert "vertebra[jupyter]" in ran.stderr


def test_a_picture_is_saved_as_its_name_says(tmp_path: Path) -> None:
    picture = GALLERY["diamond"]().draw()
    for suffix, form in ((".svg", "svg"), (".txt", "text"), (".dot", "dot"), (".gv", "dot"), (".mmd", "mermaid")):
        assert picture.save(tmp_path / f"x{suffix}").read_text() == getattr(picture, form)
    assert picture.save(str(tmp_path / "x.PNG")).read_bytes() == picture.png
    with pytest.raises(UsageError, match=r"x\.jpeg"):
        picture.save(tmp_path / "x.jpeg")


def test_what_cannot_be_drawn_is_refused() -> None:
    graph: Any = GALLERY["linear"]()
    with pytest.raises(UsageError, match="theme"):
        graph.draw(theme="pink")
    with pytest.raises(UsageError, match="depth"):
        graph.draw(depth=-1)


@pytest.mark.parametrize("width", [20, 40, 60])
@pytest.mark.parametrize("name", GALLERY)
def test_in_a_narrow_terminal_no_line_is_wider_and_no_node_is_missing(name: str, width: int) -> None:
    graph = GALLERY[name]()
    text = graph.draw().text_in(width)
    head = 2  # the title is not drawn
    assert all(cells(line) <= width for line in text.splitlines()[head:])
    for known in graph.definition.nodes:
        assert clean(known)[:7] in text


def test_in_a_wide_terminal_every_row_lines_up() -> None:
    """A box from right to left or in wide characters is as wide in cells as its frame."""
    text = GALLERY["right-to-left"]().draw().text
    rows = [line.replace("\u200e", "") for line in text.splitlines()]
    name = next(row for row in rows if "要約" in row)
    above = rows[rows.index(name) - 1]
    assert cells(name.rstrip()) == cells(above.rstrip())


def test_a_subgraph_is_open_to_its_depth_and_folded_below() -> None:
    inner = GALLERY["nested"]()
    outer = chain(Graph(State, name="outer"), START, inner, END)
    assert "critique" not in outer.draw(depth=0).svg
    assert "collect" in outer.draw().svg
    assert "critique" not in outer.draw().svg
    assert "critique" in outer.draw(depth=2).svg


def test_a_sketch_is_plain_data() -> None:
    sketch = sketch_of(GALLERY["nested"]().definition)
    assert Picture(pickle.loads(pickle.dumps(sketch))).svg == Picture(sketch).svg


def test_a_graph_that_is_not_well_is_drawn_to_be_looked_at() -> None:
    graph = Graph(State, name="broken")
    graph.add_edge(START, "nowhere")
    assert "missing" in graph.draw().text
    assert Graph(State, name="empty").draw().text


def test_widths_are_never_less_than_those_of_a_wide_font() -> None:
    font = pytest.importorskip("matplotlib.ft2font")
    import matplotlib

    ttf = font.FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
    ttf.set_size(100, 72)
    for text in ("Summarise the visit", "WWW mmm iii", "a_b-c.d/e(f)", "éàüß Ž", "Привет", "αβγ"):
        ttf.set_text(text)
        real = ttf.get_width_height()[0] / 64
        assert real * 0.99 <= pixels(text, 100) <= real * 1.5, text


def test_long_names_are_broken_where_they_can_be() -> None:
    assert fitted("collect_all_of_the_evidence", 14, 2) == ("collect_all_", "of_the_eviden…")
    assert fitted("要約と翻訳と送信", 8) == ("要約と…",)
    assert fitted("", 8) == ("",)
