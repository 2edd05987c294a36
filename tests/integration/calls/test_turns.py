"""Turns of a call: keys, barge-in, silence, consent to a recording, and token limits."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services, use_production_rules, use_services
from vca.conversation.llm.models import Models
from vca.conversation.types import Limits, Tokens
from vca.devtools.scripted_model.model import ScriptedModel
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.recordings.models import Recording

ScriptModel = Callable[..., SequenceModel]
ANSWER = "We open at nine. We close at five."


@pytest.fixture
def number(acme: Tenant) -> str:
    """Return a number of acme that an agent answers."""
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


# --- Keys and barge-in ---


def test_pressed_keys_are_stored_as_a_turn(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, number: str
) -> None:
    model = script_model(["Thank you."])
    state = carrier_client.ring(number, "call-1")["state"]

    responses = [carrier_client.send_event("keys", "call-1", state, keys="12#") for _ in range(2)]

    assert [spoken_text(response) for response in responses] == ["Thank you."] * 2
    assert call_record.transcript == [
        "agent: Acme here.",
        "caller: (pressed 1 2 #)",
        "agent: Thank you.",
    ]
    assert len(model.requests) == 1


def test_a_barge_in_stores_the_heard_part_beside_the_answer(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, number: str
) -> None:
    model = script_model([ANSWER], ["On Monday."])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "When do you open?")["state"]

    responses = [
        carrier_client.send_event("interrupted", "call-1", state, text="We open at")
        for _ in range(2)
    ]
    carrier_client.say("call-1", state, "And when is that?")

    assert [response["actions"] for response in responses] == [[], []]
    assert (call_record.turns[2]["text"], call_record.turns[2]["heard_text"]) == (
        ANSWER,
        "We open at",
    )
    assert [message.text for message in model.requests[-1].messages] == [
        "Acme here.",
        "When do you open?",
        "We open at",
        "And when is that?",
    ]


def test_the_model_does_not_get_an_answer_that_was_not_heard(
    carrier_client: CarrierClient, script_model: ScriptModel, number: str
) -> None:
    model = script_model([ANSWER], ["Yes."])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "When do you open?")["state"]

    carrier_client.send_event("interrupted", "call-1", state, text="")
    carrier_client.say("call-1", state, "Hello?")

    assert "nine" not in str(model.requests[-1].messages)


# --- Silence ---


def test_a_silent_caller_is_prompted_once_and_then_disconnected(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, number: str
) -> None:
    model = script_model(["Never said."])
    state = carrier_client.ring(number, "call-1")["state"]

    prompt, repeated_prompt = (carrier_client.say("call-1", state, "") for _ in range(2))
    goodbye = carrier_client.say("call-1", prompt["state"], " ")

    assert prompt == repeated_prompt
    assert action_types(prompt) == ["say", "listen"]
    assert action_types(goodbye) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "silence")
    assert model.requests == []


# --- Recording ---


@pytest.mark.parametrize(
    ("consent_sentence", "spoken_sentence"),
    [(None, "This call is recorded."), ("We tape this.", "We tape this.")],
)
def test_the_consent_precedes_the_recording_also_in_a_repeated_response(
    carrier_client: CarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    consent_sentence: str | None,
    spoken_sentence: str,
) -> None:
    profile = acme.profile(greeting="Acme here.", recording=True, consent_sentence=consent_sentence)
    number = acme.number()["did_number"]

    first = carrier_client.ring(number, "call-1")
    acme.patch(f"/ai-profiles/{profile['id']}", {"recording": False, "greeting": "Moved."})
    repeated = carrier_client.ring(number, "call-1")

    assert first == repeated
    assert action_types(first) == ["say", "record", "say", "listen"]
    assert [first["actions"][index]["text"] for index in (0, 2)] == [
        spoken_sentence,
        "Acme here.",
    ]
    assert call_record.transcript == [f"agent: {spoken_sentence} Acme here."]


def test_a_call_without_recording_has_no_consent_sentence(
    carrier_client: CarrierClient, number: str
) -> None:
    assert action_types(carrier_client.ring(number, "call-1")) == ["say", "listen"]


@pytest.mark.parametrize("has_event", [True, False])
def test_a_recording_is_fetched_once_with_or_without_its_event(
    carrier_client: CarrierClient,
    acme: Tenant,
    real_carrier: RealCallerCarrier,
    call_record: CallRecord,
    world: Factory,
    has_event: bool,
) -> None:
    acme.profile(recording=True)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    recording_id = "RE1" if has_event else None
    real_carrier.add_recording("call-1", b"RIFF", provider_recording_id=recording_id)

    carrier_client.send_status("call-1", "completed", state=state)
    if has_event:
        carrier_client.send_event("recording", "call-1", state, recording_id=recording_id)
        carrier_client.send_event("recording", "call-1", state, recording_id=recording_id)
    world.run_jobs(acme)

    with tenant_session(acme.ref, database=app_services().database) as session:
        [row] = session.scalars(select(Recording))
    assert (row.kind, row.status, row.provider_recording_id) == ("call", "stored", recording_id)


# --- Tokens ---


def test_a_call_above_its_token_limit_ends_with_a_sentence(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, number: str
) -> None:
    model = script_model(["Yes."], tokens=Tokens(60, 40))
    use_services(limits=Limits(tokens=150))
    state = carrier_client.ring(number, "call-1")["state"]

    responses = []
    for utterance in ("One.", "Two.", "Three."):
        responses.append(carrier_client.say("call-1", state, utterance))
        state = responses[-1]["state"]

    assert [action_types(response)[-1] for response in responses] == ["listen", "listen", "hang_up"]
    assert call_record.end_state == ("completed", "token_limit")
    assert len(model.requests) == 2


def test_above_the_daily_token_limit_callers_hear_a_sentence_and_are_forwarded(
    carrier_client: CarrierClient, acme: Tenant, platform: Platform, script_model: ScriptModel
) -> None:
    script_model(["Yes."], tokens=Tokens(60, 40))
    platform.api.patch(acme.url("/settings"), {"limits": {"tokens_per_day": 100}})
    acme.patch("/settings", {"sentences": {"over_limit": "We are busy."}})
    acme.profile()
    fallback_number = fresh_number()
    number = acme.number(fallback_number=fallback_number)["did_number"]
    state = carrier_client.ring(number, "call-1")["state"]
    carrier_client.say("call-1", state, "One.")
    carrier_client.send_status("call-1", "completed", state=state)

    response = carrier_client.ring(number, "call-2")

    assert spoken_text(response) == "We are busy."
    assert response["actions"][-1] == {"type": "forward", "number": fallback_number}
    newest_call = acme.get("/calls").json[0]
    assert (newest_call["status"], newest_call["end_reason"]) == ("failed", "token_limit")


# --- The scripted model in production ---


def test_in_production_the_scripted_model_does_not_answer_real_callers(
    app: Flask, carrier_client: CarrierClient, acme: Tenant, anonymous: Api, call_record: CallRecord
) -> None:
    use_services(models=Models(ScriptedModel()))
    use_production_rules()
    acme.patch("/settings", {"sentences": {"fallback": "Please call again."}})
    acme.profile(greeting="Acme here.")
    fallback_number = fresh_number()
    number = acme.number(fallback_number=fallback_number)["did_number"]

    response = carrier_client.ring(number, "call-1")

    assert spoken_text(response) == "Please call again."
    assert response["actions"][-1] == {"type": "forward", "number": fallback_number}
    assert call_record.end_state == ("failed", "model_error")


def test_in_production_the_scripted_model_answers_simulations(
    app: Flask, acme: Tenant, carrier: FakeTelephonyAdapter, number: str
) -> None:
    use_services(models=Models(ScriptedModel()))
    use_production_rules()

    assert acme.simulate(number)["reply"] == "Acme here."
