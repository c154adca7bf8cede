"""The retry policy: how often, how long, what again, what never, what anew."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel, ValidationError

from vertebra import Retry
from vertebra.errors import InvalidUpdate, NodeTimeout, ProviderUnreachable, StreamTruncated, UsageError
from vertebra.nodes.retry import ONCE, Verdict, because_of_an_answer, typed_cause

REQUEST = httpx2.Request("POST", "https://api.openai.com/v1/chat/completions")


class EmptyReport(Exception):
    pass


class Parsed(BaseModel):
    n: int


def raised(fails: Any) -> Exception:
    try:
        fails()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def wrapped(error: Exception, cause: Exception) -> Exception:
    def fails() -> None:
        raise error from cause

    return raised(fails)


TOO_LONG = openai.LengthFinishReasonError(completion=openai.types.chat.ChatCompletion.model_construct(usage=None))
UNPARSED = raised(lambda: Parsed.model_validate({"n": "many"}))
NO_JSON = raised(lambda: json.loads("{"))
LOST = wrapped(openai.APIConnectionError(request=REQUEST), ProviderUnreachable("lost"))
CUT = wrapped(openai.APIConnectionError(request=REQUEST), StreamTruncated("cut"))
REFUSED = openai.RateLimitError("429", response=httpx2.Response(429, request=REQUEST), body=None)

AGAIN = [ConnectionResetError(), TimeoutError(), NodeTimeout("slow"), StreamTruncated("cut"), CUT]
FRESH = [
    NO_JSON,
    UNPARSED,
    InvalidUpdate("bad"),
    TOO_LONG,
    openai.ContentFilterFinishReasonError(),
    OutputParserException("x"),
]
STOP = [TypeError(), KeyError("a"), AssertionError(), EmptyReport(), LOST, REFUSED]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        *((error, Verdict.AGAIN) for error in AGAIN),
        *((error, Verdict.FRESH) for error in FRESH),
        *((error, Verdict.STOP) for error in [*STOP, KeyboardInterrupt()]),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_what_is_tried_again_what_anew_and_what_never(error: BaseException, verdict: Verdict) -> None:
    assert Retry().verdict(error, 1) is verdict
    assert because_of_an_answer(error) == (verdict is Verdict.FRESH)


@pytest.mark.parametrize("error", [*AGAIN, *FRESH])
def test_the_last_attempt_is_the_last(error: Exception) -> None:
    assert Retry(attempts=3).verdict(error, 2) is not Verdict.STOP
    assert Retry(attempts=3).verdict(error, 3) is Verdict.STOP
    assert ONCE.verdict(error, 1) is Verdict.STOP


@pytest.mark.parametrize(
    ("retry", "error", "verdict"),
    [
        (Retry(on=(EmptyReport,)), EmptyReport(), Verdict.AGAIN),
        (Retry(on=EmptyReport), EmptyReport(), Verdict.AGAIN),
        (Retry(on=(TypeError,)), TypeError(), Verdict.AGAIN),
        (Retry(fresh=(EmptyReport,)), EmptyReport(), Verdict.FRESH),
        (Retry(fresh=(Exception,), on=(Exception,)), EmptyReport(), Verdict.FRESH),
        (Retry(never=(ConnectionError,)), ConnectionResetError(), Verdict.STOP),
        (Retry(never=(ValueError,)), NO_JSON, Verdict.STOP),
        (Retry(never=(EmptyReport,), on=(Exception,), fresh=(Exception,)), EmptyReport(), Verdict.STOP),
    ],
)
def test_what_is_declared_comes_before_the_defaults(retry: Retry, error: Exception, verdict: Verdict) -> None:
    assert retry.verdict(error, 1) is verdict


RETRIES = st.builds(
    Retry,
    attempts=st.integers(1, 100),
    wait_initial_s=st.floats(0, 100),
    wait_max_s=st.floats(0, 1000),
    base=st.floats(1, 1e6),
    jitter_s=st.floats(0, 100),
)


@given(RETRIES, st.integers(1, 2000), st.randoms(use_true_random=False))
def test_a_wait_is_within_its_bounds(retry: Retry, attempt: int, random: Random) -> None:
    wait_s = retry.wait_s(attempt, random)
    assert min(retry.wait_initial_s, retry.wait_max_s) <= wait_s <= retry.wait_max_s + retry.jitter_s


def test_waits_grow_up_to_their_cap_and_jitter_is_spread() -> None:
    steady = Retry(wait_initial_s=1, base=3, wait_max_s=20, jitter_s=0)
    assert [steady.wait_s(n, Random()) for n in (1, 2, 3, 4, 5)] == [1, 3, 9, 20, 20]
    waits = [Retry(wait_initial_s=1, jitter_s=4).wait_s(1, Random(seed)) for seed in range(200)]
    assert 1 <= min(waits) < 1.5
    assert 4.5 < max(waits) <= 5


@pytest.mark.parametrize(
    ("status", "retry_after_s", "again_after_s"),
    [
        (None, None, 1),
        (408, None, 1),
        (409, None, 1),
        (429, None, 1),
        (500, None, 1),
        (529, None, 1),
        (400, None, None),
        (401, None, None),
        (404, 3, None),
        (302, None, None),
        (429, 0, 0),
        (429, 60, 60),
        (503, 61, None),
        (429, -1, None),
    ],
)
def test_a_request_is_sent_again_when_that_is_worth_it(
    status: int | None, retry_after_s: float | None, again_after_s: float | None
) -> None:
    retry = Retry(attempts=2, wait_initial_s=1, jitter_s=0, retry_after_max_s=60)
    assert retry.resend_after_s(status, retry_after_s, 1, Random()) == again_after_s
    assert retry.resend_after_s(status, retry_after_s, 2, Random()) is None


@pytest.mark.parametrize(
    "declared",
    [
        *({"attempts": 0}, {"wait_initial_s": -1}, {"wait_max_s": -1}, {"jitter_s": -1}, {"retry_after_max_s": -1}),
        *({"base": 0.5}, {"on": "ValueError"}, {"never": [ValueError]}, {"fresh": (ValueError, 3)}, {"on": (int,)}),
    ],
)
def test_a_policy_that_cannot_be_is_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Retry") as caught:
        Retry(**declared)
    assert caught.value.remedy


def test_the_cause_that_a_client_wrapped_is_found() -> None:
    ours = ProviderUnreachable("lost")
    assert typed_cause(wrapped(ValueError(), wrapped(KeyError(), ours))) is ours
    assert typed_cause(ours) is ours
    assert typed_cause(ValueError()) is None


def test_a_cause_that_the_author_cut_off_is_not() -> None:
    def fails() -> None:
        try:
            raise StreamTruncated("cut")
        except StreamTruncated:
            raise EmptyReport from None

    assert typed_cause(raised(fails)) is None
    assert Retry().verdict(raised(fails), 1) is Verdict.STOP


def test_causes_in_a_circle_end() -> None:
    one, two = ValueError(), KeyError()
    one.__context__, two.__context__ = two, one
    assert typed_cause(one) is None


def test_a_validation_error_is_told_by_its_class_not_by_its_name_alone() -> None:
    assert isinstance(UNPARSED, ValidationError)
    assert not because_of_an_answer(type("ValidationError", (Exception,), {})())
