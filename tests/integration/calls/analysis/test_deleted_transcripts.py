"""Post-call analysis of calls that retention or an erasure changes at the same time."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.fakes.models import (
    Answer,
    SequenceModel,
)
from tests.integration.calls.analysis.conftest import (
    DONE,
    UNAVAILABLE,
    ScriptModel,
    note_call,
    stored_analysis,
)
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.conversation.llm import ModelRequest
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenant.calls.core import retention
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis


class InterruptedModel(SequenceModel):
    """Executes an action while it answers."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__([note_call()], tokens=Tokens(300, 20))
        self._action = action

    def _stream(self, request: ModelRequest) -> Answer:
        self._action()
        return (yield from super()._stream(request))


def _purge_transcripts(tenant: Tenant, world: Factory) -> None:
    tenant.patch("/settings", {"retention_days": {"transcripts": 1}})
    retention.purge_transcripts(
        tenant.ref, now=clock.now() + timedelta(days=2), services=app_services()
    )


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
    model = script_model([note_call()])
    delete_transcript(call_record.tenant, world)

    world.run_jobs(call_record.tenant)

    assert model.requests == []
    assert call_record.call["analysis"] == {"status": "none", "reason": "forgotten"}
    assert stored_analysis(call_record) == (None, None, None)


@pytest.mark.parametrize("delete_transcript", DELETIONS)
def test_a_transcript_that_is_deleted_during_the_analysis_is_forgotten(
    call_record: CallRecord,
    world: Factory,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    use_model(InterruptedModel(lambda: delete_transcript(call_record.tenant, world)))
    tokens_before = call_record.call["tokens"]

    post_call_analysis.analyse_call(call, services=app_services())

    assert call_record.call["analysis"] == {"status": "none", "reason": "forgotten"}
    assert stored_analysis(call_record) == (None, None, None)
    assert call_record.call["tokens"] - tokens_before == 320


def test_the_result_of_a_job_that_was_faster_stays(
    call_record: CallRecord, world: Factory, call: CallRef
) -> None:
    first_result = "summary = 'First.', analysis_status = 'done', analysed_at = now()"
    use_model(
        InterruptedModel(lambda: world.sql(call_record.tenant, f"UPDATE calls SET {first_result}"))
    )
    tokens_before = call_record.call["tokens"]

    post_call_analysis.analyse_call(call, services=app_services())

    assert call_record.call["analysis"] == DONE
    assert stored_analysis(call_record) == ("First.", None, None)
    assert call_record.call["tokens"] - tokens_before == 320


@pytest.mark.parametrize("delete_transcript", [_purge_transcripts, _erase_caller])
def test_an_analysis_that_is_deleted_with_the_transcript_is_done_and_forgotten(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    delete_transcript: Callable[[Tenant, Factory], None],
) -> None:
    script_model([note_call()])
    world.run_jobs(call_record.tenant)

    delete_transcript(call_record.tenant, world)

    assert stored_analysis(call_record) == (None, "resolved", None)
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
