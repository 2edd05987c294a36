"""What is heard and said in a call: keys, interruptions, consent, silence, the limits of tokens."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import select

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.conversation.llm.models import Models
from vca.conversation.types import Limits, Tokens
from vca.devtools.scripted_model.model import ScriptedModel
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_services
from vca.tenant.recordings.models import Recording

Says = Callable[..., SequenceModel]
ANSWER = "We open at nine. We close at five."


@pytest.fixture
def number(acme: Tenant) -> str:
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.")
    found: str = acme.number()["did_number"]
    return found


# --- Keys and interruptions ----------------------------------------------------------------------


def test_keys_are_a_turn_in_which_they_are_named(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    model = script_model(["Thank you."])
    state = carrier_client.ring(number, "call-1")["state"]

    answers = [carrier_client.send_event("keys", "call-1", state, keys="12#") for _ in range(2)]

    assert [spoken_text(answer) for answer in answers] == ["Thank you."] * 2
    assert call_record.transcript == [
        "agent: Acme here.",
        "caller: (pressed 1 2 #)",
        "agent: Thank you.",
    ]
    assert len(model.requests) == 1


def test_an_interrupted_turn_keeps_what_was_said_and_what_was_heard(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    model = script_model([ANSWER], ["On Monday."])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "When do you open?")["state"]

    told = [
        carrier_client.send_event("interrupted", "call-1", state, text="We open at")
        for _ in range(2)
    ]
    carrier_client.say("call-1", state, "And when is that?")

    assert [answer["actions"] for answer in told] == [[], []]
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


def test_of_a_turn_that_nobody_heard_the_model_knows_nothing(
    carrier_client: CarrierClient, script_model: Says, number: str
) -> None:
    model = script_model([ANSWER], ["Yes."])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "When do you open?")["state"]

    carrier_client.send_event("interrupted", "call-1", state, text="")
    carrier_client.say("call-1", state, "Hello?")

    assert "nine" not in str(model.requests[-1].messages)


# --- Silence -------------------------------------------------------------------------------------


def test_who_says_nothing_is_asked_again_and_then_let_go(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    model = script_model(["Never said."])
    first = carrier_client.ring(number, "call-1")["state"]

    asked = [carrier_client.say("call-1", first, "") for _ in range(2)]
    over = carrier_client.say("call-1", asked[0]["state"], " ")

    assert asked[0] == asked[1]
    assert action_types(asked[0]) == ["say", "listen"]
    assert action_types(over) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "silence")
    assert model.requests == []


# --- Recording -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "consent"),
    [(None, "This call is recorded."), ("We tape this.", "We tape this.")],
)
def test_consent_comes_before_the_tape_also_when_the_ring_is_repeated(
    carrier_client: CarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    own: str | None,
    consent: str,
) -> None:
    profile = acme.profile(greeting="Acme here.", recording=True, consent_sentence=own)
    number = acme.number()["did_number"]

    first = carrier_client.ring(number, "call-1")
    acme.patch(f"/ai-profiles/{profile['id']}", {"recording": False, "greeting": "Moved."})
    again = carrier_client.ring(number, "call-1")

    assert first == again
    assert action_types(first) == ["say", "record", "say", "listen"]
    assert [first["actions"][place]["text"] for place in (0, 2)] == [consent, "Acme here."]
    assert call_record.transcript == [f"agent: {consent} Acme here."]


def test_a_call_that_is_not_recorded_says_nothing_of_it(
    carrier_client: CarrierClient, number: str
) -> None:
    assert action_types(carrier_client.ring(number, "call-1")) == ["say", "listen"]


@pytest.mark.parametrize("told", [True, False])
def test_a_recorded_calls_audio_is_fetched_once_told_or_not(
    carrier_client: CarrierClient,
    acme: Tenant,
    real_carrier: RealCallerCarrier,
    call_record: CallRecord,
    world: Factory,
    told: bool,
) -> None:
    acme.profile(recording=True)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    named = "RE1" if told else None
    real_carrier.add_recording("call-1", b"RIFF", provider_recording_id=named)

    carrier_client.send_status("call-1", "completed", state=state)
    if told:
        carrier_client.send_event("recording", "call-1", state, recording_id=named)
        carrier_client.send_event("recording", "call-1", state, recording_id=named)
    world.run_jobs(acme)

    with tenant_session(acme.ref) as session:
        [row] = session.scalars(select(Recording))
    assert (row.kind, row.status, row.provider_recording_id) == ("call", "stored", named)


# --- Tokens --------------------------------------------------------------------------------------


def test_a_call_ends_politely_once_its_tokens_are_spent(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    model = script_model(["Yes."], tokens=Tokens(60, 40))
    call_services.set_current_services(
        replace(call_services.current_services(), limits=Limits(tokens=150))
    )
    state = carrier_client.ring(number, "call-1")["state"]

    answers = []
    for sentence in ("One.", "Two.", "Three."):
        answers.append(carrier_client.say("call-1", state, sentence))
        state = answers[-1]["state"]

    assert [action_types(answer)[-1] for answer in answers] == ["listen", "listen", "hang_up"]
    assert call_record.end_state == ("completed", "token_limit")
    assert len(model.requests) == 2


def test_once_the_days_tokens_are_spent_callers_hear_so_and_are_forwarded(
    carrier_client: CarrierClient, acme: Tenant, platform: Platform, script_model: Says
) -> None:
    script_model(["Yes."], tokens=Tokens(60, 40))
    platform.api.patch(acme.url("/settings"), {"limits": {"tokens_per_day": 100}})
    acme.patch("/settings", {"sentences": {"over_limit": "We are busy."}})
    acme.profile()
    guard = fresh_number()
    number = acme.number(fallback_number=guard)["did_number"]
    state = carrier_client.ring(number, "call-1")["state"]
    carrier_client.say("call-1", state, "One.")
    carrier_client.send_status("call-1", "completed", state=state)

    refused = carrier_client.ring(number, "call-2")

    assert spoken_text(refused) == "We are busy."
    assert refused["actions"][-1] == {"type": "forward", "number": guard}
    newest = acme.get("/calls").json[0]
    assert (newest["status"], newest["end_reason"]) == ("failed", "token_limit")


# --- Who may answer real callers -----------------------------------------------------------------


def test_in_production_a_script_answers_no_real_caller_and_every_rehearsal(
    app: Flask, carrier_client: CarrierClient, acme: Tenant, anonymous: Api, call_record: CallRecord
) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()), production=True)
    )
    acme.patch("/settings", {"sentences": {"fallback": "Please call again."}})
    acme.profile(greeting="Acme here.")
    guard = fresh_number()
    number = acme.number(fallback_number=guard)["did_number"]

    answer = carrier_client.ring(number, "call-1")

    assert spoken_text(answer) == "Please call again."
    assert answer["actions"][-1] == {"type": "forward", "number": guard}
    assert call_record.end_state == ("failed", "model_error")


def test_in_production_a_script_answers_a_simulation(
    app: Flask, acme: Tenant, carrier: FakeTelephonyAdapter, number: str
) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()), production=True)
    )

    assert acme.simulate(number)["reply"] == "Acme here."
