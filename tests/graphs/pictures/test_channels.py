"""Between two layers no edge comes into the column or the track of another."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra.graphs.pictures.channels import tracks

Stretch = tuple[bool, float, float, float]
"""Whether it leads down; the column or track that it is in; from where to where."""


def led(ends: dict[int, tuple[float, float]]) -> dict[int, list[Stretch]]:
    """What is drawn of each edge, tracks being 1, 2, ... below the layer above."""
    runs, count = tracks(ends, 8.0)
    drawn = {}
    for edge, (source, target) in ends.items():
        here, column, stretches = 0.0, source, list[Stretch]()
        for run, track in runs.get(edge, ()):
            assert run.source == column, "it goes on where it was"
            start, end = sorted((column, run.target))
            stretches += [(True, column, here, track + 1.0), (False, track + 1.0, start, end)]
            here, column = track + 1.0, run.target
        assert column == target
        drawn[edge] = [*stretches, (True, column, here, count + 1.0)]
        assert all(start <= end for _, _, start, end in drawn[edge]), "never up again"
    return drawn


def apart(ends: dict[int, tuple[float, float]]) -> None:
    for one, other in combinations(led(ends).values(), 2):
        for down, place, start, end in one:
            assert not any(d == down and p == place and s <= end and start <= e for d, p, s, e in other)


def test_edges_that_lead_the_same_way_do_not_cross() -> None:
    runs, count = tracks({1: (0.0, 40.0), 2: (8.0, 48.0), 3: (16.0, 56.0)}, 8.0)
    assert [runs[edge][0][1] for edge in (1, 2, 3)] == [2, 1, 0]
    assert count == 3


def test_edges_that_are_far_from_each_other_share_a_track() -> None:
    runs, count = tracks({1: (0.0, 16.0), 2: (24.0, 40.0), 3: (64.0, 64.0)}, 8.0)
    assert (count, runs.get(3)) == (1, None)


def test_one_of_two_that_change_places_leaves_by_a_third_column() -> None:
    ends = {1: (0.0, 16.0), 2: (16.0, 0.0)}
    runs, _ = tracks(ends, 8.0)
    assert sorted(map(len, runs.values())) == [1, 2]
    apart(ends)


@given(st.permutations(range(9)), st.permutations(range(9)), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_any_edges_find_their_ways(above: list[int], below: list[int], size: int) -> None:
    apart({edge: (above[edge] * 8.0, below[edge] * 8.0) for edge in range(size)})
