"""A state read as channels: its fields, its reducers, and what is let in."""

from __future__ import annotations

import dataclasses
import operator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NotRequired, Required

import pytest
from langgraph.types import Overwrite
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field, field_validator, model_validator
from typing_extensions import TypedDict

from vertebra import Append
from vertebra.errors import InvalidInput, InvalidUpdate, UsageError
from vertebra.graphs.state import StateSchema


class Report(BaseModel):
    text: str = ""


class LongReport(Report):
    pages: int = 1


def merge(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    old.update(new)  # changes its argument, as many reducers do
    return old


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: ClassVar[str] = "visit"
    audio: str
    notes: Append[str] = []
    best: Annotated[int, max] = 0
    counts: Annotated[dict[str, int], merge] = {}
    size: Annotated[int, Field(gt=0)] = 1
    report: Report | None = None

    @computed_field
    def shout(self) -> str:
        return self.audio.upper()


class Typed(TypedDict, total=False):
    audio: Required[str]
    notes: NotRequired[Annotated[list[str], operator.add]]
    best: Annotated[int, max]


@dataclasses.dataclass
class Data:
    kind: ClassVar[str] = "visit"
    audio: str
    notes: Append[str] = dataclasses.field(default_factory=list)
    best: Annotated[int, max] = 0
    length: int = dataclasses.field(init=False, default=0)


SCHEMAS = {declared: StateSchema(declared) for declared in (Model, Typed, Data)}
MODEL = SCHEMAS[Model]


@pytest.mark.parametrize("declared", SCHEMAS)
def test_each_kind_of_state_has_the_same_fields_and_reducers(declared: type[Any]) -> None:
    fields = SCHEMAS[declared].fields
    assert {"audio", "notes", "best"} <= set(fields)
    assert not {"kind", "shout", "length"} & set(fields)
    assert [fields[name].appends for name in ("audio", "notes", "best")] == [False, True, False]
    assert fields["best"].reducer is max
    assert SCHEMAS[declared].describe()["notes"] == "list[str] <- add"


@pytest.mark.parametrize("declared", SCHEMAS)
def test_a_node_receives_the_declared_type(declared: type[Any]) -> None:
    state = SCHEMAS[declared].hydrate({"audio": "a", "vertebra.route": {}})
    expected: Any = {"audio": "a"} if declared is Typed else declared(audio="a")
    assert state == expected


@pytest.mark.parametrize("declared", SCHEMAS)
def test_what_a_node_changes_in_place_stays_its_own(declared: type[Any]) -> None:
    class Deep(BaseModel):
        parts: list[list[str]]

    values = {"audio": "a", "notes": ["n"]} if declared is not Model else {"parts": [["p"]]}
    schema = SCHEMAS[declared] if declared is not Model else StateSchema(Deep)
    state = schema.hydrate(values)
    (state.parts[0] if declared is Model else state["notes"] if declared is Typed else state.notes).append("x")
    assert values in ({"audio": "a", "notes": ["n"]}, {"parts": [["p"]]})


@pytest.mark.parametrize("given", [{"audio": "a", "size": "2"}, Model(audio="a", size=2), Data(audio="a")])
def test_input_is_a_mapping_or_an_instance_and_is_coerced(given: Any) -> None:
    schema = StateSchema(type(given)) if not isinstance(given, dict) else MODEL
    clean = schema.read_input(given, fresh=True)
    assert clean["audio"] == "a"
    assert clean.get("size") in (2, None)


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ("a", None, "needs a mapping or an instance"),
        (Model, None, "needs a mapping or an instance"),
        ({"audoi": "a"}, "audoi", "has no place in the state Model: audoi"),
        ({"audio": "a", "size": 0}, "size", "field 'size' of the state Model: .*greater than 0"),
        ({"audio": "a", "best": "many"}, "best", "valid integer"),
        ({"audio": "a", "counts": 3}, "counts", "valid dictionary"),
        ({}, "audio", "audio: Field required"),
    ],
)
def test_input_that_does_not_fit_is_refused(given: Any, field: str | None, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        MODEL.read_input(given, fresh=True)
    assert caught.value.remedy
    assert caught.value.context.get("field") == field


def test_input_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"does not fit the state Strict: .*low is over high"):
        STRICT.read_input({"low": 10}, fresh=True)


def test_input_on_which_a_validator_itself_fails_is_refused() -> None:
    class State(TypedDict):
        n: Annotated[int, BeforeValidator(lambda value: value["secret"])]

    with pytest.raises(InvalidInput, match=r"Input does not fit field 'n' of the state State: KeyError\."):
        StateSchema(State).read_input({"n": {}}, fresh=True)


def test_a_further_turn_need_not_give_every_field() -> None:
    assert MODEL.read_input({"size": 3}, fresh=False) == {"size": 3}


@pytest.mark.parametrize(
    ("update", "clean"),
    [
        (None, {}),
        ({}, {}),
        ({"size": "2"}, {"size": 2}),
        ({"notes": ("a", "b")}, {"notes": ["a", "b"]}),
        ({"counts": {"x": 1}}, {"counts": {"x": 1}}),
        (Model.model_construct(_fields_set={"size"}, size=2), {"size": 2}),
        ({"report": {"text": "t"}}, {"report": Report(text="t")}),
        ({"notes": Overwrite(("only",))}, {"notes": Overwrite(["only"])}),
    ],
)
def test_an_update_is_coerced_to_the_types_of_the_state(update: Any, clean: dict[str, Any]) -> None:
    assert MODEL.validate_update(update, {"audio": "a"}, node="n") == clean


def refuse(old: int, new: int) -> int:
    raise RuntimeError("never")


class Strict(BaseModel):
    even: int = 0
    notes: Annotated[list[str], operator.add, Field(max_length=2)] = []
    low: int = 0
    high: int = 9
    never: Annotated[int, refuse] = 0

    @field_validator("even")
    @classmethod
    def is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        return value

    @model_validator(mode="after")
    def is_ordered(self) -> Strict:
        if self.low > self.high:
            raise ValueError("low is over high")
        return self


STRICT = StateSchema(Strict)


@pytest.mark.parametrize(
    ("update", "field", "says"),
    [
        (7, None, "returned int; it must return a dict"),
        ({"nots": []}, "nots", "does not have"),
        ({"even": "two"}, "even", "valid integer"),
        ({"even": 3}, "even", "odd"),
        ({"notes": ["b", "c"]}, "notes", "at most 2 items"),
        ({"even": Overwrite("two")}, "even", "valid integer"),
        ({"low": 10}, "state", "low is over high"),
        ({"never": 1}, "never", "reducer of field 'never' raised RuntimeError: never"),
    ],
)
def test_a_bad_update_names_node_and_field(update: Any, field: str | None, says: str) -> None:
    with pytest.raises(InvalidUpdate, match=says) as caught:
        STRICT.validate_update(update, {"even": 0, "notes": ["a"]}, node="draft")
    assert caught.value.context["node"] == "draft"
    assert caught.value.context.get("field") == field


def test_a_reduced_value_that_does_not_fit_is_refused() -> None:
    class State(TypedDict):
        total: Annotated[int, lambda old, new: f"{old}{new}!"]

    with pytest.raises(InvalidUpdate, match="total"):
        StateSchema(State).validate_update({"total": 1}, {"total": 1}, node="n")


def test_a_fan_out_worker_is_not_judged_by_a_state_it_does_not_know() -> None:
    assert STRICT.validate_update({"low": 10}, {}, node="worker") == {"low": 10}
    assert MODEL.validate_update({"size": 2}, {}, node="worker") == {"size": 2}
    with pytest.raises(InvalidUpdate, match="odd"):
        STRICT.validate_update({"even": 3}, {}, node="worker")


def test_a_dataclass_may_refuse_what_it_is_given() -> None:
    @dataclasses.dataclass
    class State:
        n: int = 0

        def __post_init__(self) -> None:
            if self.n == 13:
                raise ValueError("unlucky")

    with pytest.raises(InvalidUpdate, match="unlucky"):
        StateSchema(State).validate_update({"n": 13}, {"n": 0}, node="n")


def test_updates_are_applied_as_the_engine_will() -> None:
    values = {"notes": ["a"], "counts": {"x": 1}}
    update = {"notes": ["b"], "counts": {"y": 2}, "best": 3, "size": 4, "vertebra.route": {}}
    after = MODEL.apply(values, update)
    assert after == {"notes": ["a", "b"], "counts": {"x": 1, "y": 2}, "best": 3, "size": 4}
    assert MODEL.apply(values, {"notes": Overwrite([])})["notes"] == []
    assert values == {"notes": ["a"], "counts": {"x": 1}}, "reducers leave the values as they were"


def test_a_reducer_whose_type_has_no_empty_value_begins_with_the_first() -> None:
    class State(TypedDict):
        best: Annotated[Literal[1, 2], max]

    assert StateSchema(State).apply({}, {"best": 2}) == {"best": 2}


def test_output_is_the_state_or_what_there_is_of_it() -> None:
    assert MODEL.output({"audio": "a"}) == Model(audio="a")
    assert MODEL.output({"size": 2, "other": 1}) == {"size": 2}


class Tree(TypedDict):
    children: list[Tree]
    where: Path


@dataclasses.dataclass
class Held:
    at: datetime
    tree: Tree


def test_the_classes_of_a_state_are_those_that_its_values_may_have() -> None:
    class State(BaseModel):
        report: Report
        held: dict[str, list[Held]]
        anything: BaseModel | None = None

    found = StateSchema(State).types()
    assert {Report, LongReport, Held, datetime, Path} <= found
    assert str not in found
    assert Model not in found, "a field of any model trusts no model in particular"


class Nothing(BaseModel):
    pass


class Aliased(BaseModel):
    audio: str = Field(alias="Audio")


class Door:
    pass


class Opaque(TypedDict):
    door: Door


class OneArgument(BaseModel):
    notes: Annotated[list[str], len]


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (Nothing, "has no fields"),
        (dict, "cannot be a state"),
        (Model(audio="a"), "cannot be a state"),
        (Aliased, "'audio' of state Aliased goes by an alias"),
        (Opaque, "'door' of state Opaque cannot be validated"),
        (OneArgument, "'len' in 'list\\[str\\]' cannot be its reducer"),
    ],
)
def test_what_cannot_be_a_state_is_refused_with_a_remedy(declared: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        StateSchema(declared)
    assert caught.value.remedy


@pytest.mark.parametrize("base", [BaseModel, object])
def test_an_annotation_that_means_nothing_is_refused(base: type[Any]) -> None:
    class State(base):  # type: ignore[misc]
        x: Unknown  # type: ignore[name-defined]  # noqa: F821

    declared = State if base is BaseModel else dataclasses.dataclass(State)
    with pytest.raises(UsageError, match=r"'?Unknown'? is not defined"):
        StateSchema(declared)


def test_a_model_may_use_what_only_its_function_knows() -> None:
    class Slice(BaseModel):
        text: str

    class State(BaseModel):
        slices: Append[Slice] = []

    assert StateSchema(State).describe() == {"slices": "list[Slice] <- add"}
    assert Slice in StateSchema(State).types()


def test_a_field_may_have_an_alias_beside_its_name() -> None:
    class State(Aliased):
        model_config = ConfigDict(populate_by_name=True)

    schema = StateSchema(State)
    assert schema.hydrate(schema.read_input({"audio": "a"}, fresh=True)).audio == "a"


def test_many_faults_are_summed_up_without_the_values() -> None:
    class State(BaseModel):
        numbers: list[int] = []

    with pytest.raises(InvalidUpdate, match="and 2 more") as caught:
        StateSchema(State).validate_update({"numbers": ["secret"] * 7}, {}, node="n")
    assert "secret" not in str(caught.value)
