"""After the call: what a model notes of it, in a job."""

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

Says = Callable[..., SequenceModel]
EXTRACT = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
    "additionalProperties": False,
}


def _note(summary: str, day: str) -> ToolCall:
    noted = {"summary": summary, "outcome": "resolved", "data": {"day": day}}
    return ToolCall("note_call", json.dumps(noted).decode())


@pytest.fixture
def call(carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord) -> CallRef:
    """A call that has ended, and that nobody has noted."""
    use_model(StepModel("On Monday."))
    acme.profile(greeting="Acme here.", extract=EXTRACT)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.say("call-1", state, "When?")
    carrier_client.send_status("call-1", "completed", state=state)
    return CallRef(acme.ref, UUID(call_record.call["id"]))


def _noted(record: CallRecord) -> tuple[object, ...]:
    return tuple(record.call[name] for name in ("summary", "outcome", "data"))


def test_a_job_notes_what_a_call_was_about(
    call_record: CallRecord, world: Factory, script_model: Says, call: CallRef
) -> None:
    model = script_model([_note("Asked for a day.", "Monday")])

    done = world.run_jobs(call_record.tenant)

    assert "calls.analyse" in done
    assert _noted(call_record) == ("Asked for a day.", "resolved", {"day": "Monday"})
    assert "Caller: When?" in model.requests[0].messages[0].text


def test_a_call_may_be_noted_again(
    call_record: CallRecord, world: Factory, script_model: Says, call: CallRef
) -> None:
    script_model([_note("First.", "Monday")], [_note("Second.", "Tuesday")])
    world.run_jobs(call_record.tenant)

    post_call_analysis.analyse_call(call)

    assert _noted(call_record) == ("Second.", "resolved", {"day": "Tuesday"})


def test_where_only_the_script_answers_nothing_is_noted(
    app: Flask, call_record: CallRecord, world: Factory, call: CallRef
) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()))
    )

    world.run_jobs(call_record.tenant)

    assert _noted(call_record) == (None, None, None)


def test_a_model_that_is_away_is_asked_again_by_the_job(
    call_record: CallRecord, world: Factory, script_model: Says, call: CallRef
) -> None:
    script_model([ModelError("away", failure="unavailable")], [_note("At last.", "Monday")])

    with pytest.raises(ModelError):
        post_call_analysis.analyse_call(call)
    assert _noted(call_record) == (None, None, None)
    world.run_jobs(call_record.tenant)

    assert _noted(call_record)[0] == "At last."


def test_what_another_try_cannot_mend_leaves_the_call_as_it_is(
    call_record: CallRecord, world: Factory, script_model: Says, call: CallRef
) -> None:
    script_model([ModelError("no", failure="refused", permanent=True)])

    world.run_jobs(call_record.tenant)

    assert _noted(call_record) == (None, None, None)
    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_call_that_goes_on_is_not_noted(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord, script_model: Says
) -> None:
    model = script_model([_note("Too early.", "Monday")])
    acme.profile()
    carrier_client.ring(acme.number()["did_number"], "call-1")

    post_call_analysis.analyse_call(CallRef(acme.ref, UUID(call_record.call["id"])))

    assert model.requests == []
    assert call_record.call["summary"] is None


def test_a_call_in_which_nothing_was_said_needs_no_model(
    carrier_client: CarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    world: Factory,
    script_model: Says,
) -> None:
    model = script_model([_note("Never.", "Monday")])
    acme.profile()
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.send_status("call-1", "completed", state=state)

    world.run_jobs(acme)

    assert model.requests == []
    assert call_record.call["outcome"] == "no_conversation"
