"""The decorators: bare and with arguments, on every kind of function, and what they refuse."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from vertebra import Retry, effect, human, llm, transition
from vertebra.errors import UsageError
from vertebra.nodes import Node
from vertebra.nodes.kinds import node_name, spec_of
from vertebra.nodes.retry import ONCE


class Approval(BaseModel):
    ok: bool


def step(state: Any, ctx: Any = None) -> dict[str, Any]:
    """One step."""
    return {"n": state}


async def waits(state: Any) -> dict[str, Any]:
    return {"n": state}


class Waiting:
    async def __call__(self, state: Any) -> None: ...


DECORATORS: dict[str, Callable[..., Any]] = {"transition": transition, "llm": llm, "effect": effect, "human": human}
PATIENT = Retry(attempts=7)


@pytest.mark.parametrize("kind", DECORATORS)
def test_a_decorator_works_bare_and_with_arguments(kind: str) -> None:
    decorate = DECORATORS[kind]
    bare, called = decorate(step), decorate()(step)
    assert isinstance(bare, Node)
    assert bare.spec == called.spec
    assert (bare.spec.kind, bare.name, bare.spec.parameters) == (kind, "step", ("state", "ctx"))
    assert repr(bare) == f"<{kind} node 'step'>"


@pytest.mark.parametrize("kind", DECORATORS)
def test_every_kind_takes_retry_timeout_and_fallback(kind: str) -> None:
    spec = DECORATORS[kind](retry=PATIENT, timeout_s=2, fallback=waits)(step).spec
    assert (spec.retry, spec.timeout_s, spec.fallback) == (PATIENT, 2, "waits")


@pytest.mark.parametrize("kind", DECORATORS)
def test_only_a_model_call_is_tried_again_unasked(kind: str) -> None:
    assert DECORATORS[kind](step).spec.retry == (Retry() if kind == "llm" else ONCE)


def test_a_decorated_function_is_still_the_function() -> None:
    node = llm(step)
    assert node(1) == {"n": 1}
    assert node.__doc__ == "One step."
    assert node.__name__ == "step"


def test_what_only_one_kind_has() -> None:
    assert (llm(step).spec.task, llm(task="draft")(step).spec.task) == ("step", "draft")
    assert effect(check=waits)(step).spec.check is waits
    question = human(answer=Approval, into="approval")(step).spec
    assert (question.answer, question.into) == (Approval, "approval")
    assert human(step).spec.answer is str


@pytest.mark.parametrize(
    ("given", "writes"), [(None, None), ((), ()), (("a", "b"), ("a", "b")), (["a"], ("a",)), ("ab", ("ab",))]
)
def test_what_is_written_may_be_declared(given: Any, writes: Any) -> None:
    assert transition(writes=given)(step).spec.writes == writes


@pytest.mark.parametrize(
    ("fn", "is_async"),
    [
        (step, False),
        (waits, True),
        (functools.partial(step, ctx=None), False),
        (functools.partial(waits), True),
        (Waiting(), True),
        (Waiting().__call__, True),
        (len, False),
    ],
)
def test_a_node_is_sync_or_async(fn: Callable[..., Any], is_async: bool) -> None:
    assert spec_of(fn, "llm").is_async == is_async
    if is_async:
        with pytest.raises(UsageError, match="a transition waits for nothing"):
            transition(fn)


def test_the_parameters_of_a_function_that_does_not_tell_are_the_state() -> None:
    assert spec_of(max, "plain").parameters == ("state",)
    assert spec_of(functools.partial(step, 1), "plain").parameters == ("ctx",)


def test_a_node_is_known_by_its_name() -> None:
    assert [node_name(node) for node in ("a", step, llm(step), spec_of(step, "llm").named("b").name)] == [
        *("a", "step", "step", "b")
    ]


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda: llm("summarise"), r"task='summarise'"),
        (lambda: human(Approval(ok=True)), "cannot be a node"),
        (lambda: effect(timeout_s=0)(step), "timeout_s of 'step' is 0"),
        (lambda: llm(timeout_s=-1)(step), "above 0"),
        (lambda: llm(fallback=Waiting())(step), "has no name to be known by"),
    ],
)
def test_misuse_is_refused_where_it_is_written(write: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        write()
    assert caught.value.remedy
