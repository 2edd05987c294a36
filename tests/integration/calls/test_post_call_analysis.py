"""Post-call analysis: a job stores what a model returns, or why there is no analysis."""

from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.fakes.models import SequenceModel, StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
from tests.support.usage import total_quantities
from vca.conversation.llm import AnswerSummary, Chunk, ModelError, ModelRequest, Reasoning, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.types import Tokens
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import clock, json
from vca.observability import metrics
from vca.tenant.calls.core import call_services, retention
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis

ScriptModel = Callable[..., SequenceModel]
EXTRACT = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
    "additionalProperties": False,
}
UNAVAILABLE = ModelError("away", failure="unavailable", server_status=503, server_code="busy")
PENDING = {"status": "pending", "reason": None}
DONE = {"status": "done", "reason": None}


def _note_call(summary: str = "Asked for a day.", day: str = "Monday") -> ToolCall:
    """Return the tool call with which a model reports its analysis."""
    arguments = {"summary": summary, "outcome": "resolved", "data": {"day": day}}
    return ToolCall("note_call", json.dumps(arguments).decode())


@pytest.fixture
def call(carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord) -> CallRef:
    """Return a call that has ended and is not analysed yet."""
    use_model(StepModel("On Monday."))
    acme.profile(greeting="Acme here.", extract=EXTRACT)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.say("call-1", state, "When?")
    assert call_record.call["analysis"] == {"status": "none", "reason": None}
    carrier_client.send_status("call-1", "completed", state=state)
    return CallRef(acme.ref, UUID(call_record.call["id"]))


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the results that are counted, in order."""
    results: list[str] = []
    monkeypatch.setattr(metrics.CALL_ANALYSES, "inc", lambda *, result: results.append(result))
    return results


def _stored_analysis(record: CallRecord) -> tuple[object, ...]:
    """Return summary, outcome and data of the call."""
    return tuple(record.call[name] for name in ("summary", "outcome", "data"))


def _waiting_attempts(tenant: Tenant) -> list[tuple[int, int]]:
    """Return the number of each waiting attempt, and the minutes until it starts."""
    query = (
        "SELECT (args->>'attempt')::int,"
        " round(extract(epoch FROM scheduled_at - now()) / 60)::int"
        " FROM jobs.procrastinate_jobs WHERE status = 'todo' AND task_name = 'calls.analyse'"
        f" AND args->>'tenant_id' = '{tenant.id}' ORDER BY id"
    )
    with admin_db.public_session() as session:
        return [(row[0], row[1]) for row in session.execute(text(query))]


def test_a_job_stores_the_analysis_of_a_call(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
) -> None:
    model = script_model([_note_call()])
    assert call_record.call["analysis"] == PENDING

    job_names = world.run_jobs(call_record.tenant)

    assert "calls.analyse" in job_names
    assert _stored_analysis(call_record) == ("Asked for a day.", "resolved", {"day": "Monday"})
    assert call_record.call["analysis"] == DONE
    assert "Caller: When?" in model.requests[0].messages[0].text
    assert results == ["done"]


def test_a_repeated_job_changes_nothing(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    model = script_model([_note_call("First.")], [_note_call("Second.")])
    world.run_jobs(call_record.tenant)

    post_call_analysis.analyse_call(call)

    assert _stored_analysis(call_record)[0] == "First."
    assert len(model.requests) == 1


def test_an_analysis_by_an_earlier_release_is_done(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    model = script_model([_note_call()])
    for status in ("pending", "none"):
        world.sql(
            call_record.tenant,
            f"UPDATE calls SET analysed_at = now(), analysis_status = '{status}', summary = 'A.'",
        )

        assert call_record.call["analysis"] == DONE
        world.run_jobs(call_record.tenant)
    assert model.requests == []


def test_a_job_of_an_earlier_release_is_executed(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([_note_call()])
    world.sql(call_record.tenant, "UPDATE calls SET analysis_status = 'none'")

    world.run_jobs(call_record.tenant)

    assert call_record.call["analysis"] == DONE


# --- Calls that are not analysed -------------------------------------------------------------


def test_a_scripted_model_analyses_no_call(
    carrier_client: CarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    world: Factory,
    results: list[str],
) -> None:
    use_model(ScriptedModel())
    acme.profile(greeting="Acme here.")
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.say("call-1", state, "When?")

    carrier_client.send_status("call-1", "completed", state=state)

    assert call_record.call["analysis"] == {"status": "none", "reason": "no_model"}
    assert "calls.analyse" not in world.run_jobs(acme)
    assert results == ["no_model"]


def test_a_call_is_not_analysed_if_the_model_was_removed_since_its_end(
    app: Flask, call_record: CallRecord, world: Factory, call: CallRef, results: list[str]
) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()))
    )

    world.run_jobs(call_record.tenant)

    assert _stored_analysis(call_record) == (None, None, None)
    assert call_record.call["analysis"] == {"status": "none", "reason": "no_model"}
    assert results == ["no_model"]


def test_a_live_call_is_not_analysed(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model = script_model([_note_call("Too early.")])
    acme.profile()
    carrier_client.ring(acme.number()["did_number"], "call-1")

    post_call_analysis.analyse_call(CallRef(acme.ref, UUID(call_record.call["id"])))

    assert model.requests == []
    assert call_record.call["summary"] is None
    assert call_record.call["analysis"] == {"status": "none", "reason": None}


@pytest.mark.parametrize("greeting", ["Acme here.", None])
def test_a_call_without_utterances_is_analysed_without_a_model(
    carrier_client: CarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    results: list[str],
    greeting: str | None,
) -> None:
    model = script_model([_note_call("Never.")])
    acme.profile(greeting=greeting)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.send_status("call-1", "completed", state=state)

    world.run_jobs(acme)

    assert model.requests == []
    assert call_record.call["outcome"] == "no_conversation"
    assert call_record.call["analysis"] == {"status": "none", "reason": "no_words"}
    assert results == ["no_words"]


def test_a_call_that_no_agent_answered_has_no_analysis_and_no_reason(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord, world: Factory
) -> None:
    acme.profile()
    number = acme.number(mode="closed")["did_number"]
    carrier_client.ring(number, "call-1")

    world.run_jobs(acme)

    assert call_record.call["end_reason"] == "closed"
    assert call_record.call["analysis"] == {"status": "none", "reason": None}


def test_a_call_that_is_unknown_is_not_analysed(acme: Tenant, script_model: ScriptModel) -> None:
    model = script_model([_note_call()])

    post_call_analysis.analyse_call(CallRef(acme.ref, uuid4()))

    assert model.requests == []


# --- Failures --------------------------------------------------------------------------------


def test_the_job_is_repeated_after_an_outage_of_the_model(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([UNAVAILABLE], [_note_call("At last.")])

    with capture_logs() as log_lines:
        world.run_jobs(call_record.tenant)

    assert _stored_analysis(call_record) == (None, None, None)
    assert call_record.call["analysis"] == PENDING
    [log_line] = [entry for entry in log_lines if entry["event"] == "call.analysis_postponed"]
    assert (log_line["server_status"], log_line["server_code"]) == (503, "busy")
    assert (log_line["call_id"], log_line["attempt"]) == (str(call.call_id), 1)
    assert _waiting_attempts(call_record.tenant) == [(2, 1)]

    world.run_jobs(call_record.tenant, include_scheduled=True)

    assert _stored_analysis(call_record)[0] == "At last."
    assert call_record.call["analysis"] == DONE


@pytest.mark.parametrize("failure", ["timeout", "rate_limited", "unavailable"])
def test_an_analysis_fails_after_three_repetitions_within_an_hour(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
    failure: Any,
) -> None:
    model = script_model([ModelError("away", failure=failure)])
    world.run_jobs(call_record.tenant)
    schedule = []

    while attempts := _waiting_attempts(call_record.tenant):
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
        post_call_analysis.analyse_call(call)

    assert [attempt for attempt, _ in _waiting_attempts(call_record.tenant) if attempt] == [2]


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
    assert _stored_analysis(call_record) == (None, None, None)
    assert call_record.call["analysis"] == {"status": "failed", "reason": "bad_answer"}
    assert call_record.end_state == ("completed", "caller_hangup")
    assert _waiting_attempts(call_record.tenant) == []
    assert results == ["bad_answer"]
    [log_line] = [entry for entry in log_lines if entry["event"] == "call.not_analysed"]
    assert log_line["failure"] == "bad_answer"
    assert "secret" not in str(log_lines)


def test_a_permanent_error_of_the_model_is_final(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
) -> None:
    refusal = ModelError(
        "no", failure="refused", permanent=True, server_status=401, server_code="invalid_api_key"
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
    assert _stored_analysis(call_record) == ("A day.", "resolved", None)
    assert call_record.call["analysis"] == DONE


# --- Tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "request_count"),
    [
        ([_note_call()], 1),
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


# --- A transcript that is deleted ------------------------------------------------------------


class InterruptedModel(SequenceModel):
    """Executes an action while it answers."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__([_note_call()], tokens=Tokens(300, 20))
        self._action = action

    def _stream(self, request: ModelRequest) -> Generator[Chunk | Reasoning, None, AnswerSummary]:
        self._action()
        return (yield from super()._stream(request))


def _purge_transcripts(tenant: Tenant, world: Factory) -> None:
    tenant.patch("/settings", {"retention_days": {"transcripts": 1}})
    retention.purge_transcripts(tenant.ref, now=clock.now() + timedelta(days=2))


def _erase_caller(tenant: Tenant, world: Factory) -> None:
    [call] = tenant.get("/calls").json
    response = tenant.post("/privacy/erase", {"number": call["caller_number"]})
    assert response.status_code == 202
    world.run_jobs(tenant)


def _delete_turns(tenant: Tenant, world: Factory) -> None:
    world.sql(tenant, "DELETE FROM turns")


DELETIONS = (_purge_transcripts, _delete_turns)


@pytest.mark.parametrize("delete_transcript", DELETIONS)
def test_a_transcript_that_was_deleted_before_the_analysis_is_forgotten(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    model = script_model([_note_call()])
    delete_transcript(call_record.tenant, world)

    world.run_jobs(call_record.tenant)

    assert model.requests == []
    assert call_record.call["analysis"] == {"status": "none", "reason": "forgotten"}
    assert _stored_analysis(call_record) == (None, None, None)


@pytest.mark.parametrize("delete_transcript", DELETIONS)
def test_a_transcript_that_is_deleted_during_the_analysis_is_forgotten(
    call_record: CallRecord,
    world: Factory,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    use_model(InterruptedModel(lambda: delete_transcript(call_record.tenant, world)))
    tokens_before = call_record.call["tokens"]

    post_call_analysis.analyse_call(call)

    assert call_record.call["analysis"] == {"status": "none", "reason": "forgotten"}
    assert _stored_analysis(call_record) == (None, None, None)
    assert call_record.call["tokens"] - tokens_before == 320


@pytest.mark.parametrize("delete_transcript", [_purge_transcripts, _erase_caller])
def test_an_analysis_that_is_deleted_with_the_transcript_is_done_and_forgotten(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    script_model([_note_call()])
    world.run_jobs(call_record.tenant)

    delete_transcript(call_record.tenant, world)

    assert _stored_analysis(call_record) == (None, "resolved", None)
    assert call_record.call["analysis"] == {"status": "done", "reason": "forgotten"}


@pytest.mark.parametrize("delete_transcript", [_purge_transcripts, _erase_caller])
def test_the_reason_of_a_failed_analysis_stays_after_the_transcript_is_deleted(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    script_model(["No."])
    world.run_jobs(call_record.tenant)

    delete_transcript(call_record.tenant, world)

    assert call_record.call["analysis"] == {"status": "failed", "reason": "bad_answer"}


@pytest.mark.parametrize("delete_transcript", [_purge_transcripts, _erase_caller])
def test_a_repetition_is_not_executed_after_the_transcript_is_deleted(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    model = script_model([UNAVAILABLE])
    world.run_jobs(call_record.tenant)

    delete_transcript(call_record.tenant, world)
    assert call_record.call["analysis"] == {"status": "none", "reason": "forgotten"}
    job_names = world.run_jobs(call_record.tenant, include_scheduled=True)

    assert "calls.analyse" in job_names
    assert len(model.requests) == 1
