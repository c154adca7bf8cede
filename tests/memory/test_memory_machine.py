"""Memory against a plain model: any order of appends, branches, pins, facts, holds, forgets and writers at once."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.memory.conftest import KEY
from tests.memory.parts import texts, user
from tests.servers import postgres
from vertebra import open_memory
from vertebra.errors import (
    BranchExists,
    BranchNotFound,
    ConversationError,
    MessageMismatch,
    MessageNotFound,
    SubjectHeld,
)
from vertebra.memory import Conversation
from vertebra.memory.tombstones import TEXT

TENANTS = (None, "x")
NAMES = ("main", "side", "other")


@dataclass
class Said:
    """One conversation: each branch is a list of (id, text), copied where it began."""

    lines: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {"main": []})
    begun: dict[str, int] = field(default_factory=lambda: {"main": 0})
    parent: dict[str, str | None] = field(default_factory=lambda: {"main": None})
    keys: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    owner: dict[int, str] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)
    summaries: dict[tuple[str, int], str] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    count: int = 0

    def append(self, branch: str, text: str, key: str | None = None) -> int:
        self.count += 1
        self.lines[branch].append((self.count, text))
        self.owner[self.count] = branch
        if key is not None:
            self.keys[key] = (self.count, branch, text)
        return self.count

    def forget(self) -> None:
        self.forgotten |= set(self.owner)
        self.lines = {name: [(id, TEXT) for id, _ in line] for name, line in self.lines.items()}
        self.summaries = {}

    def summaries_of(self, branch: str) -> list[str]:
        """Of a line those that end in what it shares."""
        found, name, high = [], branch, self.count
        while True:
            found += [(upto, of, text) for (of, upto), text in self.summaries.items() if of == name and upto <= high]
            parent = self.parent[name]
            if parent is None:
                return [text for _, _, text in sorted(found)]
            name, high = parent, self.begun[name]


@dataclass
class Known:
    """What is known of a subject, and whether it is held."""

    facts: list[tuple[str, str | None]] = field(default_factory=list)
    hold: str | None = None


class MemoryMachine(RuleBasedStateMachine):
    """``url`` is set by the subclass that a test makes."""

    url = ""
    encryption: str | None = None
    tenants = st.sampled_from(TENANTS)
    branches = st.sampled_from(NAMES)
    letters = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str | None, Said] = {}
        self.known: dict[str | None, Known] = {tenant: Known() for tenant in TENANTS}
        self.folder = tempfile.TemporaryDirectory()
        self.server: Any = None
        if self.url == "memory://":
            self.place = self.url
        elif self.url:
            self.server = postgres.fresh_database(self.url)
            self.place = self.server.__enter__()
        else:
            self.place = f"sqlite:///{self.folder.name}/memory.db?durability=process"
        self.memory = open_memory(self.place, encryption=self.encryption)

    def teardown(self) -> None:
        self.memory.close()
        if self.server is not None:
            self.server.__exit__(None, None, None)
        self.folder.cleanup()

    def line(self, tenant: str | None, branch: str) -> Conversation:
        return self.memory.conversation("c", subject="s", tenant=tenant, branch=branch)

    def outcome(self, function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (ConversationError, SubjectHeld) as error:
            return type(error)

    @rule(tenant=tenants, branch=branches, text=letters, key=st.none() | st.sampled_from("123"))
    def append(self, tenant: str | None, branch: str, text: str, key: str | None) -> None:
        found = self.outcome(self.line(tenant, branch).append_sync, user(text), key=key)
        said = self.model.get(tenant, Said())
        if branch not in said.lines:
            assert found is BranchNotFound
        elif key in said.keys:
            id, *kept = said.keys[key or ""]
            if id in said.forgotten or kept == [branch, text]:
                assert found.id == id
            else:
                assert found is MessageMismatch
        else:
            self.model[tenant] = said
            assert found.id == said.append(branch, text, key)

    @rule(tenant=tenants, branch=branches, name=branches, at=st.none() | st.integers(0, 12))
    def branch(self, tenant: str | None, branch: str, name: str, at: int | None) -> None:
        found = self.outcome(self.line(tenant, branch).branch_sync, name, at=at)
        said = self.model.get(tenant, Said())
        if branch not in said.lines:
            assert found is BranchNotFound
            return
        own = said.lines[branch]
        begin = at if at is not None else (own[-1][0] if own else 0)
        if begin and begin not in [id for id, _ in own]:
            assert found is MessageNotFound
        elif name in said.lines and (said.begun[name] != begin or name == "main"):
            assert found is BranchExists
        else:
            assert found.branch_name == name
            self.model[tenant] = said
            if name not in said.lines:
                said.lines[name] = [(id, text) for id, text in own if id <= begin]
                said.begun[name] = begin
                said.parent[name] = said.owner.get(begin, "main")

    @precondition(lambda self: self.model)
    @rule(data=st.data(), texts=st.lists(st.lists(letters, min_size=1, max_size=3), min_size=2, max_size=3))
    def append_at_once(self, data: st.DataObject, texts: list[list[str]]) -> None:
        """Several writers on branches of one conversation: whatever order they got is one that each could have."""
        tenant = data.draw(st.sampled_from(sorted(self.model, key=str)))
        said = self.model[tenant]
        where = [data.draw(st.sampled_from(sorted(said.lines))) for _ in texts]

        def write(branch: str, mine: list[str]) -> list[int]:
            return [self.line(tenant, branch).append_sync(user(text)).id for text in mine]

        with ThreadPoolExecutor(len(texts)) as threads:
            ids = list(threads.map(write, where, texts))
        got = {id: (branch, text) for branch, mine, own in zip(where, texts, ids, strict=True)
               for id, text in zip(own, mine, strict=True)}  # fmt: skip
        assert all(own == sorted(own) for own in ids)
        assert sorted(got) == list(range(said.count + 1, said.count + 1 + sum(map(len, texts))))
        for id in sorted(got):
            assert said.append(*got[id]) == id

    @rule(tenant=tenants)
    def delete(self, tenant: str | None) -> None:
        found = self.outcome(self.line(tenant, "main").delete_sync)
        if self.known[tenant].hold and tenant in self.model:
            assert found is SubjectHeld
        else:
            assert found is (self.model.pop(tenant, None) is not None)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), pinned=st.booleans(), text=letters)
    def pin_and_summarise(self, data: st.DataObject, pinned: bool, text: str) -> None:
        tenant = data.draw(st.sampled_from(sorted(self.model, key=str)))
        said = self.model[tenant]
        branch, id = data.draw(st.sampled_from(sorted(said.lines))), data.draw(st.integers(1, said.count + 1))
        line = self.line(tenant, branch)
        pin = self.outcome(line.pin_sync if pinned else line.unpin_sync, id)
        summary = self.outcome(line.add_summary_sync, text, upto=id)
        if id not in [number for number, _ in said.lines[branch]]:
            assert pin is summary is MessageNotFound
            return
        (said.pinned.add if pinned else said.pinned.discard)(id)
        assert summary.text == said.summaries.setdefault((branch, id), text)

    @rule(tenant=tenants, predicate=letters, value=st.none() | letters)
    def learn(self, tenant: str | None, predicate: str, value: str | None) -> None:
        facts = self.memory.facts("s", tenant=tenant)
        if value is None:
            facts.retract_sync(predicate)
        else:
            facts.learn_sync(predicate, value)
        self.known[tenant].facts.append((predicate, value))

    @rule(tenant=tenants)
    def hold_or_release(self, tenant: str | None) -> None:
        known = self.known[tenant]
        if known.hold is None:
            known.hold = self.memory.hold_sync("s", reason="r", by="b", tenant=tenant).id
        else:
            self.memory.release_sync(known.hold, by="b", tenant=tenant)
            known.hold = None

    @rule(tenant=tenants)
    def forget(self, tenant: str | None) -> None:
        found = self.outcome(self.memory.forget_sync, "s", reason="r", by="b", tenant=tenant)
        if self.known[tenant].hold is not None:
            assert found is SubjectHeld
            return
        assert found.intact
        self.known[tenant].facts = []
        if tenant in self.model:
            self.model[tenant].forget()

    @rule(tenant=tenants)
    def expire(self, tenant: str | None) -> None:
        done = self.memory.expire_sync(default_ttl_s=0, tenant=tenant)
        there, held = tenant in self.model, self.known[tenant].hold is not None
        assert (done.conversations, done.held) == (int(there and not held), int(there and held))
        if not held:
            self.model.pop(tenant, None)

    @precondition(lambda self: self.place != "memory://")
    @rule()
    def reopen(self) -> None:
        self.memory.close()
        self.memory = open_memory(self.place, encryption=self.encryption)

    @rule(tenant=tenants)
    def carry(self, tenant: str | None) -> None:
        lines = list(self.memory.export_lines_sync(tenant=tenant))
        self.outcome(self.line(tenant, "main").delete_sync)
        self.memory.import_lines_sync(lines, tenant=tenant)
        assert list(self.memory.export_lines_sync(tenant=tenant)) == lines

    @invariant()
    def memory_says_what_the_model_says(self) -> None:
        for tenant in TENANTS:
            said = self.model.get(tenant)
            records = self.memory.conversations_sync(tenant=tenant)
            assert [record.messages for record in records] == ([] if said is None else [said.count])
            for name in NAMES if said is not None else ():
                found = self.outcome(self.line(tenant, name).messages_sync)
                assert said is not None
                if name not in said.lines:
                    assert found is BranchNotFound
                    continue
                assert [(message.id, message.text) for message in found] == said.lines[name]
                assert texts(self.line(tenant, name).messages_sync(last=2)) == [t for _, t in said.lines[name][-2:]]
                assert [one.text for one in self.line(tenant, name).summaries_sync()] == said.summaries_of(name)
                window = self.line(tenant, name).window_sync(max_tokens=1000, counter=lambda chat: 1)
                ids = [id for id, _ in said.lines[name]]
                assert [message.id for message in window.first] == [id for id in ids if id in said.pinned]
                assert [message.id for message in window.rest] == [id for id in ids if id not in said.pinned]

    @invariant()
    def what_is_known_is_what_was_learned_last(self) -> None:
        for tenant in TENANTS:
            facts, known = self.memory.facts("s", tenant=tenant), self.known[tenant].facts
            assert [(one.predicate, one.value) for one in facts.history_sync()] == known
            held = {predicate: value for predicate, value in dict(known).items() if value is not None}
            assert {one.predicate: one.value for one in facts.list_sync()} == held


def _run(url: str, examples: int, encryption: str | None = None) -> None:
    class Machine(MemoryMachine):
        pass

    Machine.url, Machine.encryption = url, encryption
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=quiet, database=None
        ),
    )


@pytest.mark.hypothesis
def test_any_order_of_calls_in_process_and_sealed() -> None:
    _run("memory://", 15, KEY)


@pytest.mark.hypothesis
def test_any_order_of_calls_on_sqlite() -> None:
    _run("", 15)


@pytest.mark.hypothesis
@pytest.mark.timeout(300)
def test_any_order_of_calls_on_postgres(postgres_server: str) -> None:
    _run(postgres_server, 5)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("encryption", [None, KEY], ids=["plain", "sealed"])
def test_very_many_orders_of_calls(postgres_server: str, encryption: str | None) -> None:
    _run("memory://", 500, encryption)
    _run("", 200, encryption)
    _run(postgres_server, 40, encryption)
