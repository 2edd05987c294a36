"""Post-call analyses that fail: repetitions, the reason in the API and the log, and the tokens."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.calls.analysis.conftest import (
    DONE,
    PENDING,
    UNAVAILABLE,
    ScriptModel,
    note_call,
    stored_analysis,
    waiting_attempts,
)
from tests.integration.calls.conftest import CallRecord
from tests.support.factories import Factory
from tests.support.services import app_services
from tests.support.usage import total_quantities
from vca.conversation import analysis as conversation_analysis
from vca.conversation.llm import ModelError, ModelFailure, ToolCall
from vca.conversation.types import Tokens
from vca.kit import json
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis


def test_the_job_is_repeated_after_an_outage_of_the_model(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([UNAVAILABLE], [note_call("At last.")])

    with capture_logs() as log_lines:
        world.run_jobs(call_record.tenant)

    assert stored_analysis(call_record) == (None, None, None)
    assert call_record.call["analysis"] == PENDING
    [log_line] = [entry for entry in log_lines if entry["event"] == "call.analysis_postponed"]
    assert (log_line["server_status"], log_line["server_code"]) == (503, "busy")
    assert (log_line["call_id"], log_line["attempt"]) == (str(call.call_id), 1)
    assert waiting_attempts(call_record.tenant) == [(2, 1)]

    world.run_jobs(call_record.tenant, include_scheduled=True)

    assert stored_analysis(call_record)[0] == "At last."
    assert call_record.call["analysis"] == DONE


@pytest.mark.parametrize("failure", ["timeout", "rate_limited", "unavailable"])
def test_an_analysis_fails_after_three_repetitions_within_an_hour(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
    failure: ModelFailure,
) -> None:
    model = script_model([ModelError("away", failure=failure)])
    world.run_jobs(call_record.tenant)
    schedule = []

    while attempts := waiting_attempts(call_record.tenant):
        assert call_record.call["analysis"] == PENDING
        schedule += attempts
        world.run_jobs(call_record.tenant, include_scheduled=True)

    assert [attempt for attempt, _ in schedule] == [2, 3, 4]
    assert sum(minutes for _, minutes in schedule) <= 60
    assert len(model.requests) == 4
    assert call_record.call["analysis"] == {"status": "failed", "reason": "model_failed"}
    assert results == ["model_failed"]


def test_a_job_that_runs_twice_schedules_one_repetition(
    call_record: CallRecord, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([UNAVAILABLE])

    for _ in range(2):
        post_call_analysis.analyse_call(call, services=app_services())

    assert [attempt for attempt, _ in waiting_attempts(call_record.tenant)] == [2]


def test_an_answer_that_cannot_be_used_is_final(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
) -> None:
    model = script_model(["It was about a secret."])

    with capture_logs() as log_lines:
        world.run_jobs(call_record.tenant)

    assert len(model.requests) == 2
    assert stored_analysis(call_record) == (None, None, None)
    assert call_record.call["analysis"] == {"status": "failed", "reason": "bad_answer"}
    assert call_record.end_state == ("completed", "caller_hangup")
    assert waiting_attempts(call_record.tenant) == []
    assert results == ["bad_answer"]
    [log_line] = [entry for entry in log_lines if entry["event"] == "call.not_analysed"]
    assert log_line["failure"] == "bad_answer"
    assert "secret" not in str(log_lines)


@pytest.mark.parametrize("failure", ["refused", "unavailable"])
def test_a_permanent_error_of_the_model_is_final(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
    failure: ModelFailure,
) -> None:
    refusal = ModelError(
        "no", failure=failure, permanent=True, server_status=401, server_code="invalid_api_key"
    )
    model = script_model([refusal])

    with capture_logs() as log_lines:
        world.run_jobs(call_record.tenant)

    assert len(model.requests) == 1
    assert call_record.call["analysis"] == {"status": "failed", "reason": "model_failed"}
    assert results == ["model_failed"]
    [log_line] = [entry for entry in log_lines if entry["event"] == "call.not_analysed"]
    assert (log_line["server_status"], log_line["server_code"]) == (401, "invalid_api_key")


def test_data_that_does_not_fit_is_left_out(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    model = script_model(['{"summary": "A day.", "outcome": "Resolved", "data": {"hour": 3}}'])

    world.run_jobs(call_record.tenant)

    assert len(model.requests) == 2
    assert stored_analysis(call_record) == ("A day.", "resolved", None)
    assert call_record.call["analysis"] == DONE


# --- Tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "request_count"),
    [
        ([note_call()], 1),
        (["No."], 2),
        ([ToolCall("note_call", '{"summary": "A.", "outcome": "resolved", "data": 3}')], 2),
    ],
)
def test_the_tokens_of_every_request_are_metered(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    steps: list[Any],
    request_count: int,
) -> None:
    before = total_quantities(call_record.tenant)
    tokens_before = call_record.call["tokens"]
    script_model(steps, tokens=Tokens(300, 20))

    world.run_jobs(call_record.tenant)

    after = total_quantities(call_record.tenant)
    assert after["model_input_tokens"] - before["model_input_tokens"] == 300 * request_count
    assert after["model_output_tokens"] - before["model_output_tokens"] == 20 * request_count
    assert call_record.call["tokens"] - tokens_before == 320 * request_count


def test_the_tokens_of_each_interrupted_attempt_are_metered(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model(["I note ", UNAVAILABLE])
    tokens = [call_record.call["tokens"]]

    for _ in range(4):
        world.run_jobs(call_record.tenant, include_scheduled=True)
        tokens.append(call_record.call["tokens"])

    totals = total_quantities(call_record.tenant)
    assert len(set(tokens)) == 5
    assert totals["model_input_tokens"] + totals["model_output_tokens"] == tokens[-1]


@pytest.mark.parametrize(
    "extract",
    [
        {"properties": {"day": {"$ref": "#/properties/b/maxLength"}, "b": {"maxLength": 3}}},
        {"properties": {"day": {"$ref": "#/required"}}, "required": ["day"]},
        {"$id": "http://[::1", "properties": {"day": {"$ref": "other"}}},
        {"$ref": "#"},
        {"type": [["object"], {}]},
        {"properties": 5},
    ],
)
def test_a_stored_schema_that_cannot_be_applied_costs_the_data_only(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    extract: dict[str, Any],
) -> None:
    stored_schema = json.dumps(extract).decode().replace(":", r"\:")  # no parameters of SQL
    world.sql(
        call_record.tenant,
        f"UPDATE ai_profile_versions SET profile = jsonb_set(profile, '{{extract}}',"
        f" '{stored_schema}')",
    )
    tokens_before = call_record.call["tokens"]
    model = script_model([note_call()], [note_call()], tokens=Tokens(300, 20))

    world.run_jobs(call_record.tenant)

    assert len(model.requests) == 2
    assert stored_analysis(call_record) == ("Asked for a day.", "resolved", None)
    assert call_record.call["tokens"] - tokens_before == 640
    assert waiting_attempts(call_record.tenant) == []


def test_tokens_are_recorded_before_the_answer_is_judged(
    call_record: CallRecord,
    script_model: ScriptModel,
    call: CallRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    tokens_before = call_record.call["tokens"]
    script_model([note_call()], tokens=Tokens(300, 20))
    monkeypatch.setattr(conversation_analysis, "_interpret", fail)

    with pytest.raises(ZeroDivisionError):
        post_call_analysis.analyse_call(call, services=app_services())

    assert call_record.call["tokens"] - tokens_before == 320
