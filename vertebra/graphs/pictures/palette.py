"""The colours of a picture, light and dark, as CSS that a browser and a plain SVG renderer both understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Theme = Literal["auto", "light", "dark"]
"""``auto``: light, and dark where whoever looks prefers it."""

_LIGHT: Mapping[str, str] = {
    "ground": "#ffffff",
    "frame": "#e3e8ee",
    "ink": "#16202b",
    "soft": "#5a6775",
    "edge": "#8a96a3",
    "halo": "#ffffff",
    "inside": "#f8fafc",
    "start": "#3d4a57",
    "transition": "#4a5766 #f1f4f7",
    "llm": "#0b6e75 #e3f4f4",
    "effect": "#9a5b00 #fff3dd",
    "human": "#6a3fb5 #f2ecfc",
    "subgraph": "#2c5aa8 #eaf1fb",
    "plain": "#66717d #f6f7f9",
    "taken": "#16202b",
    "running": "#0b7fd0 #e2f1fd",
    "waiting": "#6a3fb5 #f2ecfc",
    "bad": "#c22a20 #fdebe9",
    "refuted": "#c22a20 #fdebe9",
    "added": "#1d7a3f #e4f5ea",
    "removed": "#c22a20 #fdebe9",
    "changed": "#a35a00 #fff1d6",
}
_DARK: Mapping[str, str] = {
    "ground": "#12181f",
    "frame": "#2a3541",
    "ink": "#e8eef4",
    "soft": "#9dabb9",
    "edge": "#6f7e8d",
    "halo": "#12181f",
    "inside": "#171f28",
    "start": "#a9b6c3",
    "transition": "#9fb0c0 #1c252f",
    "llm": "#58c4c9 #10292c",
    "effect": "#e6ae4c #2e2310",
    "human": "#bda0f0 #241c36",
    "subgraph": "#84b1f5 #162236",
    "plain": "#95a1ae #1b222a",
    "taken": "#e8eef4",
    "running": "#58b4f5 #10283b",
    "waiting": "#bda0f0 #241c36",
    "bad": "#ff8379 #3a1b19",
    "refuted": "#ff8379 #3a1b19",
    "added": "#66cf8f #14301f",
    "removed": "#ff8379 #3a1b19",
    "changed": "#f0b35a #33260d",
}
_BOXES = ("transition", "llm", "effect", "human", "subgraph", "plain")
_TONES = ("running", "waiting", "bad", "refuted", "added", "removed", "changed")
FONT = "system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Noto Sans','DejaVu Sans',sans-serif"


def style(theme: Theme) -> str:
    """The style sheet of a picture; every rule begins with the class of its theme, so that two may share a page."""
    root = f".vb-{theme}"
    common = (
        f"{root} text{{font-family:{FONT};font-size:13px}}"
        f"{root} .n{{font-weight:600}}{root} .s,{root} .l{{font-size:11px}}{root} .t{{font-size:12px}}"
        f"{root} path,{root} rect,{root} circle{{stroke-linejoin:round;stroke-linecap:round}}"
        f"{root} .e{{fill:none;stroke-width:1.5}}{root} .d{{stroke-dasharray:5 4}}{root} .g{{opacity:.38}}"
        f"{root} .b{{stroke-width:1.5}}{root} .i{{fill:none;stroke-width:1.5}}"
        f"{root} .w{{stroke-width:2.5}}"
    )
    if theme == "dark":
        return common + _rules(root, _DARK)
    dark = f"@media (prefers-color-scheme:dark){{{_rules(root, _DARK)}}}" if theme == "auto" else ""
    return common + _rules(root, _LIGHT) + dark


def _rules(root: str, colours: Mapping[str, str]) -> str:
    rules = [
        f".bg{{fill:{colours['ground']};stroke:{colours['frame']}}}",
        f".n{{fill:{colours['ink']}}}.s,.t,.l{{fill:{colours['soft']}}}.tt{{fill:{colours['ink']}}}",
        f".h{{fill:{colours['halo']}}}.hi{{fill:{colours['inside']}}}",
        f".e{{stroke:{colours['edge']}}}.a{{fill:{colours['edge']}}}",
        f".in{{fill:{colours['inside']}}}",
        f".start{{fill:{colours['start']};stroke:{colours['start']}}}",
        f".sn{{fill:{colours['ground']}}}",
    ]
    for name in _BOXES:
        ink, fill = colours[name].split()
        rules.append(f".{name}>.b{{stroke:{ink};fill:{fill}}}.{name}>.i{{stroke:{ink}}}.{name}>.s{{fill:{ink}}}")
    for name in _TONES:
        ink, fill = colours[name].split()
        rules.append(
            f".{name}>.b{{stroke:{ink};fill:{fill}}}.{name}>.m{{fill:{ink}}}"
            f".e.{name}{{stroke:{ink}}}.a.{name}{{fill:{ink}}}.l.{name}{{fill:{ink}}}"
        )
    ink = colours["taken"]
    rules.append(f".e.taken{{stroke:{ink}}}.a.taken{{fill:{ink}}}.l.taken{{fill:{ink}}}")
    return _prefixed(root, "".join(rules))


def _prefixed(root: str, rules: str) -> str:
    out = []
    for rule in rules.split("}"):
        if rule:
            selectors, _, body = rule.partition("{")
            out.append(",".join(f"{root} {selector}" for selector in selectors.split(",")) + "{" + body + "}")
    return "".join(out)
