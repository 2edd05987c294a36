"""Post-call analysis: a job stores what a model returns, or why there is nothing to analyse."""

from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.integration.calls.analysis.conftest import (
    DONE,
    PENDING,
    ScriptModel,
    note_call,
    stored_analysis,
)
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services, use_services
from vca.conversation.llm.models import Models
from vca.devtools.scripted_model.model import ScriptedModel
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis


def test_a_job_stores_the_analysis_of_a_call(
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
    call: CallRef,
    results: list[str],
) -> None:
    model = script_model([note_call()])
    assert call_record.call["analysis"] == PENDING

    job_names = world.run_jobs(call_record.tenant)

    assert "calls.analyse" in job_names
    assert stored_analysis(call_record) == ("Asked for a day.", "resolved", {"day": "Monday"})
    assert call_record.call["analysis"] == DONE
    assert "Caller: When?" in model.requests[0].messages[0].text
    assert results == ["done"]


def test_a_repeated_job_changes_nothing(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    model = script_model([note_call("First.")], [note_call("Second.")])
    world.run_jobs(call_record.tenant)

    post_call_analysis.analyse_call(call, services=app_services())

    assert stored_analysis(call_record)[0] == "First."
    assert len(model.requests) == 1


def test_an_analysis_by_an_earlier_release_is_done(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    model = script_model([note_call()])
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
    script_model([note_call()])
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
    use_services(models=Models(ScriptedModel()))

    world.run_jobs(call_record.tenant)

    assert stored_analysis(call_record) == (None, None, None)
    assert call_record.call["analysis"] == {"status": "none", "reason": "no_model"}
    assert results == ["no_model"]


def test_a_live_call_is_not_analysed(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model = script_model([note_call("Too early.")])
    acme.profile()
    carrier_client.ring(acme.number()["did_number"], "call-1")

    post_call_analysis.analyse_call(
        CallRef(acme.ref, UUID(call_record.call["id"])), services=app_services()
    )

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
    model = script_model([note_call("Never.")])
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
    model = script_model([note_call()])

    post_call_analysis.analyse_call(CallRef(acme.ref, uuid4()), services=app_services())

    assert model.requests == []
