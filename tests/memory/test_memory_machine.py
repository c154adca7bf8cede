"""Memory against a model of a dozen lines: any order of appends, keys, branches and writers at once."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.memory.parts import texts, user
from tests.servers import postgres
from vertebra import open_memory
from vertebra.errors import BranchExists, BranchNotFound, ConversationError, MessageMismatch, MessageNotFound
from vertebra.memory import Conversation

TENANTS = (None, "x")
NAMES = ("main", "side", "other")


@dataclass
class Said:
    """One conversation: each branch is a list of (id, text), copied where it began."""

    lines: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {"main": []})
    begun: dict[str, int] = field(default_factory=lambda: {"main": 0})
    keys: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    count: int = 0

    def append(self, branch: str, text: str, key: str | None = None) -> int:
        self.count += 1
        self.lines[branch].append((self.count, text))
        if key is not None:
            self.keys[key] = (self.count, branch, text)
        return self.count


class MemoryMachine(RuleBasedStateMachine):
    """``url`` is set by the subclass that a test makes."""

    url = ""
    tenants = st.sampled_from(TENANTS)
    branches = st.sampled_from(NAMES)
    letters = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str | None, Said] = {}
        self.folder = tempfile.TemporaryDirectory()
        self.server: Any = None
        if self.url:
            self.server = postgres.fresh_database(self.url)
            self.place = self.server.__enter__()
        else:
            self.place = f"sqlite:///{self.folder.name}/memory.db?durability=process"
        self.memory = open_memory(self.place)

    def teardown(self) -> None:
        self.memory.close()
        if self.server is not None:
            self.server.__exit__(None, None, None)
        self.folder.cleanup()

    def line(self, tenant: str | None, branch: str) -> Conversation:
        return self.memory.conversation("c", tenant=tenant, branch=branch)

    def outcome(self, function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except ConversationError as error:
            return type(error)

    @rule(tenant=tenants, branch=branches, text=letters, key=st.none() | st.sampled_from("123"))
    def append(self, tenant: str | None, branch: str, text: str, key: str | None) -> None:
        found = self.outcome(self.line(tenant, branch).append_sync, user(text), key=key)
        said = self.model.get(tenant, Said())
        if branch not in said.lines:
            assert found is BranchNotFound
        elif key in said.keys:
            id, *kept = said.keys[key or ""]
            assert (found.id if kept == [branch, text] else found) == (
                id if kept == [branch, text] else MessageMismatch
            )
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
        assert self.line(tenant, "main").delete_sync() is (self.model.pop(tenant, None) is not None)

    @rule()
    def reopen(self) -> None:
        self.memory.close()
        self.memory = open_memory(self.place)

    @rule(tenant=tenants)
    def carry(self, tenant: str | None) -> None:
        lines = list(self.memory.export_lines_sync(tenant=tenant))
        self.line(tenant, "main").delete_sync()
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


def _run(url: str, examples: int) -> None:
    class Machine(MemoryMachine):
        pass

    Machine.url = url
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=quiet, database=None
        ),
    )


def test_any_order_of_calls_on_sqlite() -> None:
    _run("", 40)


@pytest.mark.timeout(300)
def test_any_order_of_calls_on_postgres(postgres_server: str) -> None:
    _run(postgres_server, 8)
