"""What ``checkpointers.py --json`` measured, as one picture: time of a superstep and bytes, ours beside LangGraph's.

python benchmarks/_plot.py RESULTS.json... docs/checkpointers.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "vertebra"
from matplotlib import pyplot  # noqa: E402

COLOURS = {"theirs": "#b0b0b0", "ours": "#2a6f97"}
NAMES = {"theirs": "LangGraph's", "ours": "Vertebra's"}
MEASURES = (("superstep", 1000, "ms a superstep", False), ("bytes", 1e6, "MB stored", True))


def draw(rows: list[dict[str, Any]], to: Path) -> None:
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    figure, axes = pyplot.subplots(len(MEASURES), len(backends), figsize=(5 * len(backends), 6.5), squeeze=False)
    for column, backend in enumerate(backends):
        mine = [row for row in rows if row["backend"] == backend and "ours" in row]
        labels = [f"{row['size_kb']} KB\n{row['kind'] if row['size_kb'] else ''}\n{row['steps']} steps" for row in mine]
        for line, (name, scale, unit, logarithmic) in enumerate(MEASURES):
            axis = axes[line][column]
            for offset, whose in ((-0.2, "theirs"), (0.2, "ours")):
                heights = [row[whose].get(name, 0) / scale for row in mine]
                places = [at + offset for at in range(len(mine))]
                axis.bar(places, heights, 0.4, color=COLOURS[whose], label=NAMES[whose])
            if name == "superstep":
                limits = [row["limit"]["together"] / scale for row in mine]
                axis.plot(range(len(mine)), limits, "_", color="black", markersize=18, label="engine, one bare commit")
            if logarithmic:
                axis.set_yscale("log")
            axis.set_xticks(range(len(mine)), labels, fontsize=7)
            axis.set_ylabel(unit)
            axis.set_title(backend if line == 0 else "")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})


if __name__ == "__main__":
    *results, target = map(Path, sys.argv[1:])
    draw([row for result in results for row in json.loads(result.read_text())], target)
