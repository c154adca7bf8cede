"""What the runs of a campaign add up to, by where and how they were killed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from tests.campaigns.killing import Outcome
from tests.campaigns.verdict import Figures


@dataclass
class Tally:
    """The runs of one kind. ``beyond``: payments beyond those of a run that nobody killed; ``worst``: in one run."""

    runs: int = 0
    deaths: int = 0
    processes: int = 0
    beyond: int = 0
    worst: int = 0
    other_ends: int = 0
    figures: Figures = field(default_factory=Figures)

    def add(self, other: Tally) -> None:
        self.worst = max(self.worst, other.worst)
        for name in ("runs", "deaths", "processes", "beyond", "other_ends"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        names = [one.name for one in fields(Figures)]
        self.figures = Figures(**{name: getattr(self.figures, name) + getattr(other.figures, name) for name in names})


def tally_of(outcome: Outcome, ideal: int) -> Tally:
    """One run as a tally, given what it would have paid unkilled."""
    beyond = outcome.figures.paid - ideal
    return Tally(1, outcome.deaths, outcome.processes, beyond, beyond, int(not outcome.is_same_end), outcome.figures)


@dataclass
class Results:
    """All tallies, by place and kind, and what was found wrong."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, place: str, kind: str, tally: Tally) -> None:
        self.tallies.setdefault((place, kind), Tally()).add(tally)

    def over(self, places: Iterable[str], kinds: Iterable[str] | None = None) -> Tally:
        """The sum over some places and, if given, some kinds."""
        found, wanted, chosen = Tally(), set(places), None if kinds is None else set(kinds)
        for (place, kind), tally in self.tallies.items():
            if place in wanted and (chosen is None or kind in chosen):
                found.add(tally)
        return found
