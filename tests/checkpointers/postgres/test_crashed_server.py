"""A server that crashes right after numbers were reserved, which it had not written to its log yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.checkpointers.postgres.parts import number
from tests.checkpointers.sqlite.parts import Line, values_of
from tests.checkpointers.sqlite.test_pieces import text
from tests.servers import postgres
from tests.servers.mortal import MortalServer
from vertebra.checkpointers.postgres import PostgresCheckpointer, memos

NEXT = "SELECT max(next_piece) FROM vertebra_state_threads"
LOG = [text(n) for n in range(40)]


@pytest.fixture
def server() -> Iterator[MortalServer]:
    """Of its own, since it dies; it writes its log for a commit that waits, and else every ten seconds."""
    server = MortalServer(postgres.folder_for_session(), wal_writer_delay="10s")
    yield server
    server.stop()


@pytest.mark.timeout(180)
def test_numbers_that_a_crash_has_taken_back_are_given_to_no_two_pieces(
    server: MortalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = memos.reserve
    after: list[int] = []

    def crashing(*arguments: Any) -> Any:
        reserved = reserve(*arguments)
        if not after:
            server.die()
            server.rise()
            after.append(number(server.url, NEXT))
        return reserved

    with PostgresCheckpointer(server.url) as outliving, PostgresCheckpointer(server.url) as other:
        line, thread = Line(outliving), "t"
        line.put({"log": LOG})
        before = number(server.url, NEXT)
        memo = outliving._state._memos.of(thread)
        assert memo is not None
        memo.reserved.clear()
        monkeypatch.setattr(memos, "reserve", crashing)
        line.put({"log": [*LOG, text(1000), text(1001)]})
        assert after == [before], "the reservation was lost, or this test shows nothing"
        second = Line(other)
        second.config, second.versions = line.config, dict(line.versions)
        second.put({"log": [*LOG, text(2000), text(2001)]})
        assert values_of(other, line.config) == {"log": [*LOG, text(1000), text(1001)]}
        assert values_of(outliving, second.config) == {"log": [*LOG, text(2000), text(2001)]}
