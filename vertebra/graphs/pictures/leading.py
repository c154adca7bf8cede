"""Which way a graph leads: the order of its boxes, the lines that lead back, and the way that is its spine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vertebra.graphs.pictures.sketch import Line, Sketch
from vertebra.types import END, START


@dataclass(frozen=True, slots=True)
class Leading:
    """``order``: of the boxes; ``back``: the numbers of the lines that lead back; ``spine``: the ends of its edges."""

    order: tuple[str, ...]
    back: frozenset[int]
    spine: frozenset[tuple[str, str]]

    def downward(self, number: int, line: Line) -> tuple[str, str]:
        """The ends of a line, first that which is drawn above."""
        return line.ends[::-1] if number in self.back else line.ends


def leading_of(sketch: Sketch) -> Leading:
    """Found by one walk from START."""
    order = _from_start(sketch)
    back = _loops(sketch, order)
    return Leading(tuple(order), frozenset(back), frozenset(_spine(sketch, order, back)))


def _from_start(sketch: Sketch) -> list[str]:
    """The boxes in the order of a depth-first walk from START, then those that it does not reach; END last."""
    nexts: dict[str, list[str]] = {}
    for line in sketch.lines:
        nexts.setdefault(line.source, []).append(line.target)
    seen: dict[str, None] = {}
    for root in [START, *(box.id for box in sketch.boxes)]:
        stack = [root]
        while stack:
            name = stack.pop()
            if name not in seen:
                seen[name] = None
                stack.extend(reversed(nexts.get(name, ())))
    known = {box.id for box in sketch.boxes}
    return [name for name in seen if name in known and name != END] + ([END] if END in known else [])


def _loops(sketch: Sketch, order: Sequence[str]) -> set[int]:
    """The lines that lead back on a depth-first walk: drawn the other way round, what is left has no cycle."""
    leaving: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(sketch.lines):
        leaving.setdefault(line.source, []).append((number, line.target))
    done: set[str] = set()
    open_now: set[str] = set()
    back: set[int] = set()
    for root in order:
        stack = [(root, iter(leaving.get(root, ())))] if root not in done else []
        open_now.update(name for name, _ in stack)
        while stack:
            name, lines = stack[-1]
            for number, target in lines:
                if target in open_now and target != name:
                    back.add(number)
                elif target not in done and target != name:
                    open_now.add(target)
                    stack.append((target, iter(leaving.get(target, ()))))
                    break
            else:
                stack.pop()
                open_now.discard(name)
                done.add(name)
    return back


def _spine(sketch: Sketch, order: Sequence[str], back: set[int]) -> set[tuple[str, str]]:
    """The edges of the longest way from START to END (of equal ones, the first declared): it is drawn straight."""
    forward: dict[str, list[str]] = {}
    degree = dict.fromkeys(order, 0)
    for number, line in enumerate(sketch.lines):
        if number not in back and line.source != line.target and not line.dashed:
            forward.setdefault(line.source, []).append(line.target)
            degree[line.target] += 1
    ready = [name for name in order if not degree[name]]
    sorted_names: list[str] = []
    while ready:
        name = ready.pop()
        sorted_names.append(name)
        for target in forward.get(name, ()):
            degree[target] -= 1
            if not degree[target]:
                ready.append(target)
    far: dict[str, tuple[int, str | None]] = {END: (0, None)}
    for name in reversed(sorted_names):
        for target in forward.get(name, ()):
            if target in far and far[target][0] + 1 > far.get(name, (0, None))[0]:
                far[name] = (far[target][0] + 1, target)
    edges, name = set(), START
    while name in far and (after := far[name][1]) is not None:
        edges.add((name, after))
        name = after
    return edges


__all__ = ["Leading", "leading_of"]
