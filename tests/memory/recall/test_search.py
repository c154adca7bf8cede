"""A search by words on every backend: what it finds, in which order, within which bounds, and what it never reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.memory.parts import user
from vertebra import open_memory
from vertebra.databases import StoreUrl, migrating, open_database
from vertebra.databases.database import Tx
from vertebra.errors import UsageError
from vertebra.memory import HashingEmbedder, Memory, Summary, summarising
from vertebra.memory.migrations import MIGRATIONS
from vertebra.memory.place import Place
from vertebra.memory.recall import lookup
from vertebra.memory.recall.index import prefix_of
from vertebra.memory.recall.ranking import Asked, bm25, fused
from vertebra.memory.recall.tables import SUMMARIES


def found(memory: Memory, query: str, **bounds: Any) -> list[int]:
    return [hit.id for hit in memory.search_sync(query, mode="text", **bounds)]


def say(memory: Memory, *texts: str, id: str = "c", **place: Any) -> None:
    conversation = memory.conversation(id, **place)
    for text in texts:
        conversation.append_sync(user(text))


async def test_a_hit_says_where_it_stands_and_why_it_was_found(memory: Memory) -> None:
    conversation = memory.conversation("visit", subject="ann", tenant="t")
    await conversation.append({"role": "system", "content": "Be brief."})
    side = await conversation.branch("side")
    message = await side.append({"role": "assistant", "content": "Since when do you cough?"})
    result = await memory.search("coughs", tenant="t", mode="text")
    (hit,) = result
    assert (hit.kind, hit.conversation, hit.branch, hit.id) == ("message", "visit", "side", 2)
    assert (hit.subject, hit.role, hit.at) == ("ann", "assistant", message.at)
    assert (hit.text_rank, hit.vector_rank, hit.similarity) == (1, None, None)
    assert hit.text_score == pytest.approx(bm25([Asked("cough", 1)], ["since", "when", "do", "you", "cough"], 2, 3.5))
    assert hit.score == pytest.approx(1 / 61)
    assert (hit.snippet.text, hit.snippet.marks) == ("Since when do you cough?", ((18, 23),))
    assert (len(result), result.mode, result.waiting) == (1, "text", None)


def test_rarer_words_and_more_of_them_come_first(memory: Memory) -> None:
    say(memory, "the cough", "the fever and the cough", "the weather", "the fever of the week was the fever", "the end")
    assert found(memory, "fever the cough") == [2, 1, 4, 5, 3]
    assert found(memory, "nothing else") == []
    assert found(memory, "fever cough", limit=1) == [2]
    assert found(memory, "fever", limit=0) == found(memory, "  ") == found(memory, "?!") == []


def test_words_in_any_script_are_found(memory: Memory) -> None:
    say(memory, "Er hat schlimmen Hüsten", "東京都に住んでいます", "서울에서 왔어요", "Он кашляет ночью", "He coughs")
    assert found(memory, "HUSTEN") == [1]
    assert found(memory, "東京") == found(memory, "京") == found(memory, "住んで") == [2]
    assert found(memory, "京東") == []
    assert found(memory, "서울") == [3]
    assert found(memory, "кашляет") == [4]
    assert found(memory, "cough") == [5]


def test_a_word_that_is_nowhere_is_looked_for_by_its_beginning(memory: Memory) -> None:
    say(memory, "He coughs.", "Er hustete.", "a category")
    assert found(memory, "coughing") == [1]
    assert found(memory, "Husten") == [2]
    assert found(memory, "cats cat") == []
    (hit,) = memory.search_sync("coughing", mode="text")
    assert hit.snippet.marks == ((3, 9),)


OPERATORS = [
    *('"', "'", "cough AND", "NEAR(cough, 2)", "terms:cough", "cough*", "^cough", "(cough", "-cough", "cough OR"),
    *("a:*", "!cough", "cough <-> night", "\\", "%", "_", "?", "'; DROP TABLE vertebra_memory_entries; --", "\0"),
    *("\ud800", "cough\0night", "NOT cough", "{cough}", "vertebra_memory_terms"),
]


def test_nothing_in_a_question_is_an_operator(memory: Memory) -> None:
    say(memory, "He coughs at night.")
    for query in OPERATORS:
        assert found(memory, query) == ([1] if "cough" in query else []), query


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=80), text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80))
def test_whatever_is_said_and_asked_no_database_objects(memory: Memory, query: str, text: str) -> None:
    memory.conversation("any", tenant="any").delete_sync()
    say(memory, "other words", text, id="any", tenant="any")
    found(memory, query, tenant="any")
    number = memory.conversation("any", tenant="any").record_sync().messages
    assert bool(lookup.query_terms(text)) == (number in found(memory, text, tenant="any", limit=1000))


def test_bounds(memory: Memory) -> None:
    for name, subject, tag in (("1", "ann", "x"), ("2", "bob", "y")):
        conversation = memory.conversation(name, subject=subject)
        conversation.append_sync({"role": "system", "content": "cough"})
        conversation.append_sync(user("cough"))
        conversation.tag_sync(tag, "both")
    times = [message.at for message in memory.conversation("2").messages_sync()]

    def where(**bounds: Any) -> set[tuple[str, int]]:
        return {(hit.conversation, hit.id) for hit in memory.search_sync("cough", mode="text", **bounds)}

    everything = {("1", 1), ("1", 2), ("2", 1), ("2", 2)}
    assert where() == where(tags=["both"]) == where(roles=["system", "user"]) == where(kinds=["message"]) == everything
    assert where(subject="ann") == where(conversation="1") == where(tags=["x"]) == {("1", 1), ("1", 2)}
    assert where(roles=["user"]) == {("1", 2), ("2", 2)}
    assert where(subject="ann", roles=["user"]) == {("1", 2)}
    assert where(tags=["x", "y"]) == where(subject="ann", tags=["y"]) == where(subject="nobody") == set()
    assert where(since=times[0]) >= {("2", 1), ("2", 2)}
    assert where(since=times[0], until=times[1], conversation="2") <= {("2", 1)}
    moment = datetime.fromtimestamp(times[0] + 0.001, UTC)
    assert where(until=moment) == where(until=moment.timestamp()) >= {("1", 1), ("1", 2), ("2", 1)}
    assert where(since=times[1] + 1) == set()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"limit": -1}, {"limit": 1001}, {"limit": True}, {"mode": "fuzzy"}, {"roles": "user"}, {"roles": ["doctor"]}),
        *(
            {"tags": "x"},
            {"kinds": ["fact"]},
            {"since": "now"},
            {"until": float("nan")},
            {"tenant": ""},
            {"subject": ""},
        ),
        *({"since": datetime(2026, 1, 1)}, {"conversation": "\0"}),
    ],
)
def test_what_is_no_bound_is_refused(wrong: dict[str, Any]) -> None:
    with open_memory("memory://") as memory, pytest.raises(UsageError):
        memory.search_sync("cough", **wrong)


def test_few_that_pass_a_bound_are_found_among_many_that_do_not(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "POOL", 4)
    monkeypatch.setattr(lookup, "READ", 8)
    say(memory, "cough", id="rare", subject="ann")
    say(memory, *["cough cough"] * 20, id="many", subject="bob")
    assert found(memory, "cough", subject="ann") == found(memory, "cough", conversation="rare") == [1]
    assert len(memory.search_sync("cough", mode="text", limit=2)) == 2
    assert found(memory, "cough", limit=3, subject="bob") == [20, 19, 18]


def everything_told(memory: Memory, tenant: str | None) -> str:
    told = []
    for query in ("cough the night", "only", "coughing"):
        for mode in ("text", "vectors", "both"):
            told.append(memory.search_sync(query, tenant=tenant, mode=mode, limit=50))  # type: ignore[arg-type]
            told.append(memory.search_sync(query, tenant=tenant, mode=mode, subject="ann", tags=["t"]))  # type: ignore[arg-type]
    return repr(told)


def test_nothing_of_another_tenant_changes_what_a_tenant_is_told(memory: Memory) -> None:
    """Not a hit, not a score, not a rank, not a count."""
    for tenant in ("a", None):
        say(memory, "the cough at night", "the secret", "the night", tenant=tenant, subject="ann")
        memory.conversation("c", tenant=tenant).tag_sync("t")
        memory.embed_pending_sync(tenant=tenant, limit=2)
    before = {tenant: everything_told(memory, tenant) for tenant in ("a", None, "nobody")}
    for tenant in ("b", "A", "a' OR '1'='1"):
        say(memory, *["the only secret cough"] * 10, tenant=tenant, subject="ann")
        memory.conversation("c", tenant=tenant).tag_sync("t")
        memory.embed_pending_sync(tenant=tenant)
        assert len(memory.search_sync("only", tenant=tenant, limit=50)) == 10
    assert {tenant: everything_told(memory, tenant) for tenant in before} == before
    for tenant in ("b", "A"):
        memory.conversation("c", tenant=tenant).delete_sync()
    assert {tenant: everything_told(memory, tenant) for tenant in before} == before


def test_every_statement_of_a_search_is_bound_to_its_tenant() -> None:
    """As SQLite saw them: what reads texts names the tenant, and what reads terms names its terms."""
    with open_memory("memory://", embedder=HashingEmbedder(8)) as memory:
        say(memory, *["the cough"] * 3, tenant="mine", subject="ann")
        memory.embed_pending_sync(tenant="mine", limit=2)
        connection: Any = memory._database._connection  # type: ignore[attr-defined]
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        for mode in ("text", "vectors", "both"):
            memory.search_sync("cough coughing", tenant="mine", mode=mode, subject="ann", tags=["t"])  # type: ignore[arg-type]
            memory.search_sync("cough coughing", tenant="mine", mode=mode)  # type: ignore[arg-type]
        memory.embed_pending_sync(tenant="mine")
        connection.set_trace_callback(None)
    # What FTS5 asks of its own tables begins with a comment sign.
    statements = [sql for sql in seen if "vertebra_memory" in sql and not sql.startswith("--")]
    assert len(statements) > 40
    for sql in statements:
        by_tenant = re.search(r"tenant = 'mine'|VALUES \('mine'", sql)
        by_term = re.search(rf"(MATCH|term =) '\"?{prefix_of('mine')}", sql)
        by_claim = "vertebra_memory_claims" in sql and not sql.startswith("SELECT")
        assert by_tenant or by_term or by_claim, sql


def test_what_is_deleted_is_not_found_and_leaves_no_term(recall_url: str) -> None:
    with open_memory(recall_url, embedder=HashingEmbedder(8)) as memory:
        say(memory, "the cough of März", "東京都", "plain plain", id="1")
        say(memory, "the cough stays", id="2")
        memory.embed_pending_sync()
        assert found(memory, "cough") == [1, 1]
        assert memory.conversation("1").delete_sync()
        (hit,) = memory.search_sync("cough März 東京都 plain")
        assert (hit.conversation, hit.text_rank, hit.vector_rank) == ("2", 1, 1)
        assert memory.conversation("2").delete_sync()
        assert [*memory.search_sync("cough")] == []
        say(memory, "the cough again", id="1")
        assert found(memory, "cough") == [1]
        memory.conversation("1").delete_sync()
        for table in (
            "entries",
            "vectors",
            "claims",
            *(("term_counts",) if memory._database.backend == "sqlite" else ()),
        ):
            left = memory._database.run_sync(lambda tx, t=table: tx.all(f"SELECT * FROM vertebra_memory_{t}"))  # type: ignore[misc]
            assert left == [], table


def test_what_is_forgotten_or_expired_is_not_found_and_leaves_no_term(recall_url: str) -> None:
    with open_memory(recall_url, embedder=HashingEmbedder(8)) as memory:
        for subject in ("ann", "bob"):
            say(memory, f"the zyzzyva of {subject}", "plain", id=subject, subject=subject, tenant="t")
        memory.embed_pending_sync(tenant="t")
        receipt = memory.forget_sync("ann", reason="asked", by="me", tenant="t")
        assert receipt.removed["entries"] == 2
        assert [hit.conversation for hit in memory.search_sync("zyzzyva ann", tenant="t")] == ["bob"] * 2
        lines = list(memory.export_lines_sync(tenant="t"))
        memory.import_lines_sync(lines, tenant="copy")
        assert [hit.conversation for hit in memory.search_sync("forgotten zyzzyva", tenant="copy")] == ["bob"]
        memory.conversation("ann", tenant="copy").delete_sync()
        for tenant in ("t", "copy"):
            assert memory.expire_sync(default_ttl_s=0, tenant=tenant).conversations
            assert len(memory.search_sync("zyzzyva", tenant=tenant)) == 0
        for table in ("entries", "vectors", *(("term_counts",) if memory._database.backend == "sqlite" else ())):
            left = memory._database.run_sync(lambda tx, t=table: tx.all(f"SELECT * FROM vertebra_memory_{t}"))  # type: ignore[misc]
            assert left == [], table


def test_an_import_is_found(memory: Memory) -> None:
    say(memory, "the cough", "the night", tenant="a")
    lines = list(memory.export_lines_sync(tenant="a"))
    for _ in range(2):
        memory.import_lines_sync(lines, tenant="b")
    assert found(memory, "cough night", tenant="b") == found(memory, "cough night", tenant="a")
    assert len(memory.search_sync("cough", tenant="b")) == 1


def test_a_memory_that_is_older_than_its_index_is_taken_in_by_the_first_search(durable_url: str) -> None:
    from vertebra.memory.migrations import MIGRATIONS
    from vertebra.memory.recall import backlog

    with open_memory(durable_url) as memory:
        for number in range(3):
            say(memory, *(f"cough {n}" for n in range(number * 3)), id=str(number), tenant="t")
    database = open_database(StoreUrl.parse(durable_url))

    def make_old(tx: Any) -> None:
        """As it was before recall: its tables taken away, and made again over what is there."""
        recall = next(one for one in MIGRATIONS if "vertebra_memory_unindexed" in str(one))
        for table in ("terms", "term_counts") * (tx.backend == "sqlite") + (
            "entries",
            "unindexed",
            "spaces",
            "vectors",
            "claims",
        ):
            tx.execute(f"DROP TABLE vertebra_memory_{table}")
        for statement in recall:
            if sql := statement if isinstance(statement, str) else statement.get(tx.backend):
                tx.execute(sql)

    database.run_sync(make_old)
    with pytest.MonkeyPatch.context() as patch, open_memory(durable_url, embedder=HashingEmbedder(8)) as memory:
        patch.setattr(backlog, "BATCH", 2)
        say(memory, "cough anew", id="2", tenant="t")
        assert found(memory, "cough", tenant="u") == []
        assert len(memory.search_sync("cough", tenant="t", mode="text")) == 10
        assert len(memory.search_sync("cough", tenant="t", limit=50).hits) == 10
        assert memory.embed_pending_sync(tenant="t").embedded == 10
    left = database.run_sync(lambda tx: tx.all("SELECT * FROM vertebra_memory_unindexed WHERE tenant = 't'"))
    assert left == []
    database.close()


def test_counts_of_common_terms_are_renewed_when_a_twentieth_is_new(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup.Counts, "COMMON", 3)
    say(memory, *["cough"] * 10)
    assert memory.search_sync("cough", mode="text").hits[0].text_score == pytest.approx(
        bm25([Asked("cough", 10)], ["cough"], 10, 1.0)
    )
    say(memory, *["night"] * 10)
    assert memory.search_sync("cough", mode="text").hits[0].text_score == pytest.approx(
        bm25([Asked("cough", 10)], ["cough"], 20, 1.0)
    )


def test_reciprocal_rank_fusion() -> None:
    assert fused(["a", "b"], ["b", "c"]) == {"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62}
    assert list(fused(["a", "b"], ["b", "a"])) == ["a", "b"]
    assert fused([], []) == {}


def test_summaries_are_found_on_each_branch_and_go_with_what_they_tell_of(memory: Memory) -> None:
    conversation = memory.conversation("c", subject="ann", tenant="t")
    for text in ("He coughs.", "Since when?"):
        conversation.append_sync(user(text))
    side = conversation.branch_sync("side", at=2)
    first = conversation.add_summary_sync("They spoke of asthma.", upto=2)
    second = side.add_summary_sync("Asthma, says the branch.", upto=2)
    assert (first.id, second.id) == (1, 2), "both end with the same message"
    assert conversation.add_summary_sync("Again of asthma.", upto=2).id == 1
    memory.embed_pending_sync(tenant="t")
    hits = memory.search_sync("asthma", tenant="t", mode="both", limit=2).hits
    assert {(hit.kind, hit.id, hit.branch, str(hit.snippet)) for hit in hits} == {
        ("summary", 1, "main", "They spoke of asthma."),
        ("summary", 2, "side", "Asthma, says the branch."),
    }
    assert found(memory, "asthma", tenant="t", kinds=["message"]) == found(memory, "asthma", roles=["user"]) == []
    assert sorted(found(memory, "asthma", tenant="t", kinds=["summary"])) == [1, 2]
    lines = list(memory.export_lines_sync(tenant="t"))
    memory.import_lines_sync(lines, tenant="copy")
    assert sorted(found(memory, "asthma", tenant="copy")) == [1, 2]
    assert list(memory.export_lines_sync(tenant="copy")) == lines
    memory.forget_sync("ann", tenant="t", reason="letter", by="office")
    assert found(memory, "asthma", tenant="t") == []
    assert memory.conversation("c", tenant="copy").delete_sync()
    assert found(memory, "asthma", tenant="copy") == []


def test_summaries_of_an_older_memory_are_taken_in(durable_url: str) -> None:
    database = open_database(StoreUrl.parse(durable_url))
    older = MIGRATIONS[: MIGRATIONS.index(SUMMARIES)]
    migrating.migrate(database, older, table="vertebra_memory_schema")
    columns = "INSERT INTO vertebra_memory_summaries (tenant, conversation, branch, low, high, text, at) VALUES "

    def fill(tx: Tx) -> None:
        for id in ("c", "d"):
            tx.execute(
                "INSERT INTO vertebra_memory_conversations (tenant, id, created_at, updated_at) VALUES ('t', ?, 1, 1)",
                id,
            )
            for branch, high in (("main", 4), ("main", 2), ("side", 2)):
                text = f"Of the asthma on {branch} to {high}."
                tx.execute(f"{columns} ('t', ?, ?, 1, ?, ?, 1.0)", id, branch, high, text)

    database.run_sync(fill)
    database.close()
    with open_memory(durable_url) as memory:
        hits = memory.search_sync("asthma", tenant="t", mode="text").hits
        assert sorted((hit.conversation, hit.id, str(hit.snippet)) for hit in hits) == [
            (id, number, f"Of the asthma on {branch} to {high}.")
            for id in ("c", "d")
            for number, (branch, high) in enumerate((("main", 2), ("side", 2), ("main", 4)), 1)
        ]
        place = Place("t", "c")
        memory.database.run_sync(lambda tx: summarising.add(tx, place, Summary("main", 1, 6, "More asthma.")))
        assert len(memory.search_sync("asthma", tenant="t", mode="text", conversation="c")) == 4
