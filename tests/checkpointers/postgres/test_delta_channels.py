"""What LangGraph's PostgresSaver lacks: the last n, delta channels, copies that are refused, strategies unknown."""

from __future__ import annotations

import pytest

from tests.checkpointers.sqlite.parts import at
from tests.checkpointers.sqlite.test_graphs import graph, told
from vertebra import open_checkpointer
from vertebra.errors import UsageError


def test_pruned_a_thread_of_delta_channels_reads_and_goes_on_as_before(postgres_url: str) -> None:
    with open_checkpointer(postgres_url) as store:
        saver = store.saver.inner
        before = told(saver, 10)
        for keep in (5, 1):
            store.saver.prune(["t", "none such"], keep=keep)
            compiled = graph(10).compile(checkpointer=saver)
            kept = [s.values for s in compiled.get_state_history(at())]
            assert kept[:keep] == [values for values, *_ in before][:keep]
            assert keep <= len(kept) <= keep + 7
        compiled.invoke({"log": ["turn"]}, {**at(), "recursion_limit": 100})
        assert compiled.get_state(at()).values["delta"] == [f"delta {n}" for n in range(30)]


def test_what_it_does_not_know_it_refuses(postgres_url: str) -> None:
    with open_checkpointer(postgres_url) as store:
        told(store.saver.inner, 2)
        for options in ({"strategy": "keep_last_year"}, {"keep": 0}):
            with pytest.raises(UsageError, match="not known"):
                store.saver.prune(["t"], **options)
        with pytest.raises(UsageError, match="There is a thread"):
            store.saver.copy_thread("t", "t")
        store.saver.copy_thread("t", "u")
        store.saver.delete_for_runs(["no such run"])
        store.saver.prune(["t"], strategy="delete")
        assert {item.config["configurable"]["thread_id"] for item in store.saver.list(None)} == {"u"}
