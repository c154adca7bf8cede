"""Facts: superseded and never overwritten, told as of any time by what was known at any time, learned once a key."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra import open_memory
from vertebra.errors import FactMismatch, UsageError
from vertebra.memory import Fact, Facts, Memory, Source


def told(facts: list[Fact]) -> dict[str, Any]:
    return {fact.predicate: fact.value for fact in facts}


async def test_a_later_fact_supersedes_where_their_times_overlap(memory: Memory) -> None:
    facts = memory.facts("ann", tenant="t")
    await facts.learn("city", "Kyiv", valid_from=100)
    await facts.learn("city", "Lviv", valid_from=200, valid_until=300)
    seen = [told(await facts.as_of(at).list()).get("city") for at in (99, 100, 199.9, 200, 299.9, 300, 1e12)]
    assert seen == [None, "Kyiv", "Kyiv", "Lviv", "Lviv", "Kyiv", "Kyiv"]
    assert [fact.value for fact in await facts.history("city")] == ["Kyiv", "Lviv"]


async def test_what_was_known_then_stays_known_as_of_then(memory: Memory) -> None:
    facts = memory.facts("ann")
    first = await facts.learn("allergy", "none", valid_from=-math.inf)
    second = await facts.learn("allergy", "penicillin", valid_from=-math.inf)
    assert (await facts.as_of(-1e9).get("allergy")) == second
    assert first.learned_at <= second.learned_at
    if first.learned_at < second.learned_at:
        assert await facts.known_at(first.learned_at).get("allergy") == first
    assert await facts.known_at(first.learned_at - 1).list() == []
    assert await facts.known_at(first.learned_at - 1).history() == []


async def test_a_retraction_ends_it_and_tells_so(memory: Memory) -> None:
    facts = memory.facts("ann")
    await facts.learn("takes", {"drug": "lisinopril", "mg": [10]}, valid_from=100, confidence=0.5)
    await facts.learn("smokes", None, valid_from=100)
    gone = await facts.retract("takes", valid_from=200)
    assert told(await facts.as_of(150).list()) == {"smokes": None, "takes": {"drug": "lisinopril", "mg": [10]}}
    assert told(await facts.list()) == {"smokes": None}
    assert await facts.get("takes") is None
    assert [fact.retracted for fact in await facts.history("takes")] == [False, True]
    assert gone.value is None
    await facts.retract("takes", valid_from=-math.inf)
    assert await facts.as_of(150).get("takes") is None
    assert len(await facts.history()) == 4


async def test_all_that_was_said_of_it_is_kept(memory: Memory) -> None:
    facts = memory.facts("ann", tenant="t")
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    fact = await facts.learn(
        "weight", 71.5, valid_from=noon, valid_until=noon.timestamp() + 60, source=Source("c", 3), confidence=1, key="k"
    )
    assert fact == (await facts.history())[0] == await facts.as_of(noon).get("weight")
    assert (fact.id, fact.subject, fact.key, fact.source) == (1, "ann", "k", Source("c", 3))
    assert (fact.valid_from, fact.valid_until) == (noon.timestamp(), noon.timestamp() + 60)
    assert (fact.confidence, fact.retracted, fact.forgotten_at) == (1.0, False, None)
    now = await facts.learn("mood", "good")
    assert (now.valid_from, now.valid_until) == (now.learned_at, None)
    assert facts.history_sync() == await facts.history()
    assert facts.list_sync() == await facts.list()
    assert facts.get_sync("mood") == now


async def test_once_a_key(memory: Memory) -> None:
    facts = memory.facts("ann")
    first = await facts.learn("city", "Kyiv", key="k", confidence=0.5)
    assert await facts.learn("city", "Kyiv", key="k", valid_from=7) == first
    for predicate, value in (("city", "Lviv"), ("town", "Kyiv")):
        with pytest.raises(FactMismatch, match="To go on"):
            await facts.learn(predicate, value, key="k")
    with pytest.raises(FactMismatch):
        facts.retract_sync("city", key="k")
    gone = await facts.retract("city", key="gone")
    assert facts.retract_sync("city", key="gone") == gone
    assert len(await facts.history()) == 2
    assert (await memory.facts("bob").learn("city", "Lviv", key="k")).id == 1


async def test_no_subject_and_no_tenant_sees_anothers(memory: Memory) -> None:
    for tenant, subject in itertools.product((None, "a", "b"), ("ann", "bob")):
        facts = memory.facts(subject, tenant=tenant)
        await facts.learn("who", f"{tenant} {subject}", key="k")
        await facts.retract("what")
    for tenant, subject in itertools.product((None, "a", "b"), ("ann", "bob")):
        facts = memory.facts(subject, tenant=tenant)
        assert told(await facts.list()) == {"who": f"{tenant} {subject}"}
        assert [fact.id for fact in await facts.history()] == [1, 2]


def test_many_learn_at_once_and_nothing_is_lost(memory: Memory) -> None:
    def learn(writer: int) -> None:
        facts = memory.facts("ann")
        for number in range(10):
            facts.learn_sync(f"p{writer}", number, key=f"{writer} {number}")
            facts.learn_sync("shared", number, key=f"shared {number}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(learn, range(4)))
    history = memory.facts("ann").history_sync()
    assert [fact.id for fact in history] == list(range(1, 51))
    assert [fact.learned_at for fact in history] == sorted(fact.learned_at for fact in history)
    assert told(memory.facts("ann").list_sync()) == {"p0": 9, "p1": 9, "p2": 9, "p3": 9, "shared": 9}


WRONG: dict[str, dict[str, Any]] = {
    "no predicate": {"predicate": ""},
    "NUL": {"predicate": "a\0"},
    "no JSON": {"value": object()},
    "NaN": {"value": [math.nan]},
    "half a pair": {"value": "\ud800"},
    "a naive time": {"valid_from": datetime(2024, 5, 1)},
    "no time": {"valid_until": math.inf},
    "a text": {"valid_from": "2024"},
    "no span": {"valid_from": 5, "valid_until": 5},
    "over one": {"confidence": 1.1},
    "an empty key": {"key": ""},
    "no conversation": {"source": Source("", 1)},
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_cannot_be_kept_is_refused(what: str) -> None:
    with open_memory("memory://") as memory:
        with pytest.raises(UsageError, match="To go on"):
            await memory.facts("ann").learn(**{"predicate": "p", "value": 1, **WRONG[what]})
        assert await memory.facts("ann").history() == []
        for time in (math.nan, True, None):
            with pytest.raises(UsageError):
                memory.facts("ann").as_of(time)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            memory.facts("", tenant="t")


_TIMES = st.one_of(st.just(-math.inf), st.integers(0, 9).map(float))
_SAYINGS = st.lists(
    st.tuples(st.sampled_from("pq"), st.one_of(st.none(), st.integers(0, 3)), _TIMES, st.integers(1, 9)), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(sayings=_SAYINGS)
def test_at_each_time_the_last_that_covers_it_holds(sayings: list[tuple[str, int | None, float, int]]) -> None:
    """Against a model that paints each statement over a line of instants."""
    painted: dict[tuple[str, int], int | None] = {}
    with open_memory("memory://") as memory:
        facts: Facts = memory.facts("ann")
        for predicate, value, since, length in sayings:
            until = max(since, 0.0) + length
            if value is None:
                facts.retract_sync(predicate, valid_from=since, valid_until=until)
            else:
                facts.learn_sync(predicate, value, valid_from=since, valid_until=until)
            painted |= {(predicate, at): value for at in range(20) if since <= at < until}
        for at in range(20):
            expected = {p: painted[p, at] for p in "pq" if painted.get((p, at)) is not None}
            assert told(facts.as_of(at).list_sync()) == expected
