"""Post-call analysis: a job stores the summary, outcome and data that a model returns."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from flask import Flask

from tests.fakes.models import SequenceModel, StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
from vca.conversation.llm import ModelError, ToolCall
from vca.conversation.llm.models import Models
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import json
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis

ScriptModel = Callable[..., SequenceModel]
EXTRACT = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
    "additionalProperties": False,
}


def _note_call(summary: str, day: str) -> ToolCall:
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
    carrier_client.send_status("call-1", "completed", state=state)
    return CallRef(acme.ref, UUID(call_record.call["id"]))


def _stored_analysis(record: CallRecord) -> tuple[object, ...]:
    """Return summary, outcome and data of the call."""
    return tuple(record.call[name] for name in ("summary", "outcome", "data"))


def test_a_job_stores_the_analysis_of_a_call(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    model = script_model([_note_call("Asked for a day.", "Monday")])

    job_names = world.run_jobs(call_record.tenant)

    assert "calls.analyse" in job_names
    assert _stored_analysis(call_record) == ("Asked for a day.", "resolved", {"day": "Monday"})
    assert "Caller: When?" in model.requests[0].messages[0].text


def test_a_second_analysis_replaces_the_first(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([_note_call("First.", "Monday")], [_note_call("Second.", "Tuesday")])
    world.run_jobs(call_record.tenant)

    post_call_analysis.analyse_call(call)

    assert _stored_analysis(call_record) == ("Second.", "resolved", {"day": "Tuesday"})


def test_a_scripted_model_analyses_no_call(
    app: Flask, call_record: CallRecord, world: Factory, call: CallRef
) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()))
    )

    world.run_jobs(call_record.tenant)

    assert _stored_analysis(call_record) == (None, None, None)


def test_the_job_repeats_an_analysis_after_an_outage_of_the_model(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([ModelError("away", failure="unavailable")], [_note_call("At last.", "Monday")])

    with pytest.raises(ModelError):
        post_call_analysis.analyse_call(call)
    assert _stored_analysis(call_record) == (None, None, None)
    world.run_jobs(call_record.tenant)

    assert _stored_analysis(call_record)[0] == "At last."


def test_a_permanent_error_of_the_model_leaves_the_call_unchanged(
    call_record: CallRecord, world: Factory, script_model: ScriptModel, call: CallRef
) -> None:
    script_model([ModelError("no", failure="refused", permanent=True)])

    world.run_jobs(call_record.tenant)

    assert _stored_analysis(call_record) == (None, None, None)
    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_live_call_is_not_analysed(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model = script_model([_note_call("Too early.", "Monday")])
    acme.profile()
    carrier_client.ring(acme.number()["did_number"], "call-1")

    post_call_analysis.analyse_call(CallRef(acme.ref, UUID(call_record.call["id"])))

    assert model.requests == []
    assert call_record.call["summary"] is None


def test_a_call_without_utterances_is_analysed_without_a_model(
    carrier_client: CarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    world: Factory,
    script_model: ScriptModel,
) -> None:
    model = script_model([_note_call("Never.", "Monday")])
    acme.profile()
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.send_status("call-1", "completed", state=state)

    world.run_jobs(acme)

    assert model.requests == []
    assert call_record.call["outcome"] == "no_conversation"
