"""Analyses that need a second request or fail, and their tokens."""

from typing import Any

import pytest

from tests.fakes.models import StepModel
from tests.unit.conversation.analysis.conftest import (
    EXTRACT,
    VALID_FIELDS,
    VALID_JSON,
    StepPerRequestModel,
    analyse_call,
    run_analysis,
    tool_call,
)
from vca.conversation import analysis, json_schema
from vca.conversation.analysis import Analysis, AnalysisRun
from vca.conversation.llm import (
    ModelError,
    ModelFailure,
    Reasoning,
    ToolCall,
)
from vca.conversation.types import Tokens
from vca.kit import json

MISSING = "`summary` and `outcome` are missing"
UNUSABLE_ANSWERS: list[tuple[Any, str]] = [
    ("The call was about a boiler.", "was not called"),
    ("[]", "was not called"),
    (ToolCall(analysis.TOOL_NAME, "{"), MISSING),
    (ToolCall(analysis.TOOL_NAME, VALID_JSON[:-1]), MISSING),
    (tool_call("other", x=1), MISSING),
    (tool_call(summary="A", outcome="happy"), "outcome: it must be one of resolved, "),
    (tool_call(summary="A", outcome=["resolved"]), "outcome: it must be one of resolved, "),
    (tool_call(summary="A"), "outcome: it must be one of resolved, "),
    (tool_call(outcome="resolved"), "summary: it must be a text"),
    (tool_call(summary=" ", outcome="resolved"), "summary: it must be a text"),
    (tool_call(summary=3, outcome="resolved"), "summary: it must be a text"),
    (ModelError("Empty.", failure="bad_answer"), "was not called"),
]
UNFITTING_DATA: list[tuple[Any, str]] = [
    ({"floor": 1}, "data: it: 'name' is a required property"),
    ({"name": "Ada", "floor": "third"}, "data: floor: 'third' is not of type"),
    ([], "data: it is not an object"),
    ("none of it was said", "data: it is not an object"),
]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        *UNUSABLE_ANSWERS,
        *((tool_call(**VALID_FIELDS, data=data), problem) for data, problem in UNFITTING_DATA),
    ],
)
def test_an_unusable_answer_is_requested_once_more_with_its_problem(
    answer: Any, problem: str
) -> None:
    model = StepPerRequestModel(
        answer, tool_call(**VALID_FIELDS, data={"name": "Ada"}), tokens=Tokens(10, 1)
    )

    run = run_analysis(model, EXTRACT)

    assert run.analysis is not None
    assert run.analysis.data == {"name": "Ada"}
    first, second = model.requests
    assert second.messages[0] == first.messages[0]
    assert second.must_call
    assert problem in second.messages[-1].text
    schema = json.dumps(first.tools[0].parameters).decode()
    assert schema in second.messages[-1].text


@pytest.mark.parametrize(("answer", "problem"), UNUSABLE_ANSWERS)
def test_a_second_unusable_answer_is_a_failure(answer: Any, problem: str) -> None:
    model = StepModel(answer, tokens=Tokens(10, 1))

    run = run_analysis(model, EXTRACT)

    assert run.analysis is None
    assert run.failure is not None
    assert run.failure.failure == "bad_answer"
    assert len(model.requests) == 2


@pytest.mark.parametrize(("data", "problem"), UNFITTING_DATA)
def test_an_analysis_whose_data_fits_neither_time_has_no_data(data: Any, problem: str) -> None:
    model = StepModel(tool_call(**VALID_FIELDS, data=data), tokens=Tokens(10, 1))

    run = run_analysis(model, EXTRACT)

    expected = Analysis("A boiler is broken.", "unresolved", None)
    assert run == AnalysisRun(Tokens(20, 2), expected)
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    "second_answer", ["Sorry.", ModelError("Away.", failure="unavailable"), tool_call(outcome="x")]
)
def test_the_first_analysis_counts_if_the_second_answer_is_worse(second_answer: Any) -> None:
    model = StepPerRequestModel(tool_call(**VALID_FIELDS, data={"floor": 1}), second_answer)

    assert analyse_call(model, EXTRACT) == Analysis("A boiler is broken.", "unresolved", None)


def test_of_several_objects_the_one_that_can_be_used_counts() -> None:
    text = f'For example {{"summary": "…", "outcome": "one of …"}}: {VALID_JSON}'
    model = StepModel(f'{text} (not {{"outcome": "happy"}}).')

    assert analyse_call(model).summary == "A boiler is broken."
    assert len(model.requests) == 1


# --- Failures and tokens ---------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["timeout", "rate_limited", "unavailable", "refused"])
def test_a_failed_request_is_not_repeated_in_the_same_run(failure: ModelFailure) -> None:
    error = ModelError("No.", failure=failure)
    model = StepModel(error)

    assert run_analysis(model) == AnalysisRun(Tokens(), failure=error)
    assert len(model.requests) == 1


def test_an_incomplete_answer_is_a_failure_of_the_server_and_not_a_bad_answer() -> None:
    error = ModelError("Cut.", failure="unavailable")
    model = StepModel("I noted this. ", VALID_JSON[:-1], error)

    run = run_analysis(model)

    assert run.failure is error
    assert len(model.requests) == 1
    assert run.tokens.input > 0 < run.tokens.output


def test_the_fallback_model_analyses_the_call_if_the_first_fails() -> None:
    first = StepModel("I wi", ModelError("Away.", failure="unavailable"))
    fallback = StepModel(tool_call(**VALID_FIELDS), tokens=Tokens(100, 10))

    run = run_analysis(first, fallback=fallback)

    assert run.analysis is not None
    assert run.analysis.outcome == "unresolved"
    assert run.tokens.input > 100
    assert run.tokens.output == 11


def test_tokens_that_a_server_does_not_report_are_estimated_with_the_arguments() -> None:
    call = tool_call(**VALID_FIELDS)

    run = run_analysis(StepModel(call))

    assert run.tokens.output == -(-len(call.arguments) // 4)
    assert run.tokens.input > 50


def test_tokens_of_both_requests_count_if_neither_answer_can_be_used() -> None:
    assert run_analysis(StepModel("No.", tokens=Tokens(10, 1))).tokens == Tokens(20, 2)


@pytest.mark.parametrize("failure", ["timeout", "rate_limited", "unavailable", "refused"])
def test_a_server_that_never_answered_used_no_tokens(failure: ModelFailure) -> None:
    assert run_analysis(StepModel(ModelError("No.", failure=failure))).tokens == Tokens()


@pytest.mark.parametrize("step", [Reasoning(), "", "I "])
def test_a_server_that_began_to_answer_used_tokens(step: Any) -> None:
    model = StepModel(step, ModelError("Late.", failure="timeout"))

    assert run_analysis(model).tokens.input > 0


def test_an_endless_answer_is_abandoned() -> None:
    model = StepModel(*["and so on " * 100] * 1_000)

    run = run_analysis(model)

    assert run.failure is not None
    assert run.failure.failure == "bad_answer"
    assert model.chunk_count < 200
    assert model.closed_count == 2


def test_an_answer_of_many_objects_costs_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    extract = {"items": {}, "properties": {"a": {"items": {"oneOf": [{"const": 0}] * 1_500}}}}
    data = {"a": [1] * 1_000}
    fields = json.dumps({**VALID_FIELDS, "data": data}).decode()
    meters: list[json_schema.Meter] = []
    find_problem = json_schema.find_problem

    def find_problem_and_note(value: Any, schema: Any, meter: Any) -> str | None:
        meters.append(meter)
        return find_problem(value, schema, meter)

    monkeypatch.setattr(json_schema, "find_problem", find_problem_and_note)

    assert analyse_call(StepModel("\n".join([fields] * 15)), extract).data is None

    assert len(meters) > 20
    assert len({id(meter) for meter in meters}) == 2  # the first answer, and the corrected one
