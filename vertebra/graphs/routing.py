"""Where a node's conditional edges lead, given the state after its update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertebra.errors import LoopBoundReached, RouterFailed
from vertebra.graphs import topology
from vertebra.graphs.compilation import LOOPS, ROUTE, choice_keys, counted
from vertebra.graphs.definition import Choice, Definition


class Routing:
    """The routers of one definition, with the cycles that their edges re-enter."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._part = topology.components(definition.successors()) if definition.choices else {}

    def has_choices(self, node: str) -> bool:
        return any(choice.source == node for choice in self._definition.choices)

    def routes(self, node: str, values: Mapping[str, Any], loops: Mapping[str, Any], run_id: str) -> dict[str, Any]:
        """The update of the reserved channels after ``node``, whose update ``values`` includes.

        Raises ``RouterFailed`` and ``LoopBoundReached``; the thread then stays before the node.
        """
        route: dict[str, list[str]] = {}
        counts: dict[str, Any] = {}
        choices = self._definition.choices
        for number, (key, choice) in enumerate(zip(choice_keys(choices), choices, strict=True)):
            if choice.source != node:
                continue
            targets = self._ask(choice, values)
            if choice.max_visits is not None and any(self._reenters(choice, t) for t in targets):
                targets, counts[key] = self._bound(choice, targets, counted(loops, choices, number), run_id)
            route[key] = targets
        update: dict[str, Any] = {ROUTE: route} if route else {}
        if counts:
            update[LOOPS] = counts
        return update

    def _reenters(self, choice: Choice, target: str) -> bool:
        return self._part.get(target) == self._part.get(choice.source)

    def _bound(self, choice: Choice, targets: list[str], before: Any, run_id: str) -> tuple[list[str], list[Any]]:
        # [run, count]: the count starts anew in each run of the thread.
        count = before[1] if before and before[0] == run_id else 0
        if count < (choice.max_visits or 0):
            return targets, [run_id, count + 1]
        if choice.on_exhausted is None:
            raise LoopBoundReached(
                f"The router of {choice.source!r} would re-enter its cycle for the {_ordinal(count + 1)} time; "
                f"max_visits is {choice.max_visits}.",
                node=choice.source,
            )
        return [choice.on_exhausted], [run_id, count]

    def _ask(self, choice: Choice, values: Mapping[str, Any]) -> list[str]:
        try:
            answer = choice.router(self._definition.schema.hydrate(values))
        except Exception as error:
            raise RouterFailed(
                f"The router of {choice.source!r} raised {type(error).__name__}: {error}.", node=choice.source
            ) from error
        answers = list(answer) if isinstance(answer, Sequence) and not isinstance(answer, str) else [answer]
        unknown = [a for a in answers if not _known(a, choice.mapping)]
        if unknown or not answers:
            raise RouterFailed(
                f"The router of {choice.source!r} answered {unknown[0] if unknown else answers!r}; "
                f"declared are {', '.join(repr(k) for k in choice.mapping)}.",
                node=choice.source,
            )
        return list(dict.fromkeys(choice.mapping[a] for a in answers))


def _known(answer: Any, mapping: Mapping[Any, str]) -> bool:
    try:
        return answer in mapping
    except TypeError:
        return False


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
