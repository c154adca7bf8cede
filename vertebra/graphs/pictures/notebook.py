"""Showing pictures in a notebook's kernel: in place, again and again, with nothing but Jupyter's own display messages.

Nothing of Jupyter is imported: where this process is no kernel, there is nothing to show to.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping
from html import escape
from typing import Any

from vertebra.graphs.pictures.marking import counted, trail_of, with_run
from vertebra.graphs.pictures.picture import Picture
from vertebra.graphs.pictures.sketch import Sketch, folded
from vertebra.types import Interrupt, Run

Bundle = dict[str, Any]


def shell() -> Any:
    """The shell of the kernel that this process is; None where it is none."""
    ipython = sys.modules.get("IPython")
    found = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return found if getattr(found, "kernel", None) is not None else None


class Place:
    """A place in a cell's output that is written again and again."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._id = uuid.uuid4().hex
        self._begun = False

    def show(self, data: Bundle, details: Bundle | None = None) -> None:
        """Show this, in the place of what was there."""
        self._kernel.display_pub.publish(
            data=data, metadata=details or {}, transient={"display_id": self._id}, update=self._begun
        )
        self._begun = True


def picture_of(sketch: Sketch, run: Run) -> Picture:
    """The picture that a cell ends up with."""
    marked = with_run(sketch, trail_of(run))
    return Picture(folded(marked, 1))


def run_bundle(run: Run) -> tuple[Bundle, Bundle]:
    """How a run shows itself: its picture, and what it asks; only in words where its cell has the picture already."""
    kernel = shell()
    words = in_words(run, kernel)
    if kernel is not None and _cell_of(kernel) == (run.thread_id, run.run_id, kernel.execution_count):
        return {"text/plain": words}, {}
    data, details = picture_of(run.sketch, run)._repr_mimebundle_()
    return {**data, "text/plain": f"{words}\n\n{data['text/plain']}"}, details


def in_words(run: Run, kernel: Any = None) -> str:
    """A run in a few lines."""
    calls = f", {counted(run.calls, 'call')}" if run.calls else ""
    lines = [f"Run of thread {run.thread_id!r}: {run.status}{calls}"]
    for interrupt in run.interrupts:
        lines += [f"{interrupt.node} asks: {interrupt.text}", f"  {resume_line(run, interrupt, kernel)}"]
    if run.error is not None:
        lines.append(str(run.error))
    return "\n".join(lines)


def question_bundle(run: Run, kernel: Any) -> Bundle | None:
    """The questions that wait, each with the line that answers it; None where nobody is asked."""
    if not run.interrupts:
        return None
    parts, words = [], []
    for interrupt in run.interrupts:
        line = resume_line(run, interrupt, kernel)
        about = "" if interrupt.data is None else f"<pre>{escape(_short(interrupt.data))}</pre>"
        asked = f"<p><b>{escape(interrupt.node)}</b> asks: {escape(interrupt.text)}</p>"
        parts.append(f"{asked}{about}<pre><code>{escape(line)}</code></pre>")
        words.append(f"{interrupt.node} asks: {interrupt.text}\n  {line}")
    return {"text/html": "".join(parts), "text/plain": "\n".join(words)}


def resume_line(run: Run, interrupt: Interrupt, kernel: Any = None) -> str:
    """The line of Python that answers a question, with the names that the notebook has."""
    names: Mapping[str, Any] = kernel.user_ns if kernel is not None else {}
    mine = (
        name
        for name, value in names.items()
        if not name.startswith("_") and getattr(value, "sketch", None) is run.sketch
    )
    app = next((name for name in mine if hasattr(names[name], "resume")), "app")
    which = f", interrupt_id={interrupt.id!r}" if len(run.interrupts) > 1 else ""
    return f"run = await {app}.resume({run.thread_id!r}, {_example(interrupt.answer_schema or {}, names)}{which})"


def _example(schema: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    """An answer of the form that a JSON Schema has, as Python."""
    if "enum" in schema:
        return repr(schema["enum"][0])
    kind = schema.get("type")
    if kind == "object":
        needed = schema.get("required") or list(schema.get("properties", {}))
        fields = {name: _example(schema.get("properties", {}).get(name, {}), names) for name in needed}
        title = str(schema.get("title", ""))
        if title.isidentifier() and title in names:
            return f"{title}({', '.join(f'{name}={value}' for name, value in fields.items())})"
        return "{" + ", ".join(f"{name!r}: {value}" for name, value in fields.items()) + "}"
    simple = {"boolean": "True", "integer": "1", "number": "1.0", "array": "[]", "null": "None"}
    return simple.get(str(kind), '"..."')


def _short(value: Any, longest: int = 2000) -> str:
    from pydantic_core import to_json

    text = json.dumps(json.loads(to_json(value, fallback=str)), indent=1, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]}…"


def remember(kernel: Any, run: Run) -> None:
    """Note that the cell that is executed now has the picture of this run."""
    kernel.vertebra_shown = (run.thread_id, run.run_id, kernel.execution_count)


def _cell_of(kernel: Any) -> Any:
    return getattr(kernel, "vertebra_shown", None)


__all__ = ["Place", "in_words", "picture_of", "question_bundle", "remember", "resume_line", "run_bundle", "shell"]
