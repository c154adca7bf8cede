"""Lists as numbers in base 32: what is built is what is read, and what was the same at the front is not built again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vertebra.checkpointers.pieces.chunks import WIDTH, Entry, Level, build, digits, spread


class Shelf:
    """Where chunks are put."""

    def __init__(self) -> None:
        self.chunks: dict[Entry, Level] = {}

    def store(self, level: int, at: int, entries: Level) -> int:
        assert level > 1 or at % WIDTH == 0
        self.chunks[len(self.chunks)] = entries
        return len(self.chunks) - 1

    def fetch(self, numbers: object) -> dict[Entry, Level]:
        return self.chunks


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000))
def test_what_is_built_on_another_list_is_what_is_read(before: int, same: int, after: int) -> None:
    shelf = Shelf()
    old = build(list(range(before)), (), 0, shelf.store)
    same = min(same, before, after)
    entries: Level = [*range(same), *range(10_000, 10_000 + after - same)]
    new = build(entries, old, same, shelf.store)
    assert spread(digits(new), shelf.fetch) == new
    assert new[0] == entries
    assert all(len(digit) < WIDTH for digit in digits(new))
    assert spread(digits(old), shelf.fetch)[0] == list(range(before))


def test_appending_stores_a_chunk_at_every_32nd_step() -> None:
    shelf = Shelf()
    levels: list[Level] = [[]]
    for number in range(WIDTH**2 + 1):
        levels = build([*levels[0], number], levels, number, shelf.store)
    assert len(shelf.chunks) == WIDTH + 1
    assert [len(digit) for digit in digits(levels)] == [1, 0, 1]
