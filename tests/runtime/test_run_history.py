"""``Run.history``: read when it is asked for, by a run that stays light and can be pickled."""

from __future__ import annotations

import gc
import pickle

import pytest
from pydantic import BaseModel

from vertebra import END, START, App, Graph, transition
from vertebra.errors import UsageError


class State(BaseModel):
    n: int = 0


@transition
def count(state: State) -> dict[str, int]:
    return {"n": state.n + 1}


def compiled() -> App:
    return Graph(State, name="g").add_edge(START, count).add_edge(count, END).compile()


async def test_it_is_read_when_it_is_asked_for_on_the_very_loop_that_drives() -> None:
    async with compiled() as app:
        run = await app.run({}, thread_id="t")
        assert [step.nodes for step in run.history][-1] == ("count",)
        assert str(run.history) == str(await app.steps("t"))
        await app.run({}, thread_id="t")
        assert len(run.history) > 3, "of the thread as it is now"


def test_a_copy_has_none_and_says_where_there_is_one() -> None:
    with compiled() as app:
        run = app.run_sync({}, thread_id="t")
        copy = pickle.loads(pickle.dumps(run))
        assert copy == run
        with pytest.raises(UsageError, match=r"await app\.steps"):
            _ = copy.history


def test_a_run_keeps_no_app() -> None:
    run = compiled().run_sync({}, thread_id="t")
    gc.collect()
    with pytest.raises(UsageError, match="where its history is"):
        _ = run.history
