"""Transfers, voicemails, recordings and outbound calls through Telnyx."""

from uuid import UUID

import pytest

from tests.fakes.carriers.telnyx.accounts import BASE_URL
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.carrier_client import (
    TelnyxCarrierClient,
    command_names,
    spoken_texts,
)
from tests.fakes.hostile_model import transfer
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.telnyx.conftest import ScriptModel
from tests.support import permits
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.telephony.types import CallReply
from vca.tenancy.session import tenant_session
from vca.tenant.calls.control import outbound_calls
from vca.tenant.calls.core.call_types import CallRef

UNREACHED_TEXT = "nobody could be reached"


# --- Transfers, voicemail, recordings ---


@pytest.fixture
def transferring_leg(
    carrier_client: TelnyxCarrierClient, acme: Tenant, script_model: ScriptModel, sales_number: str
) -> Leg:
    """Return the leg of a call that is being transferred to sales."""
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=["transfer"], transfer_targets=targets)
    script_model(["I connect you.", transfer("sales")], ["At nine."])
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])
    carrier_client.say(leg, "Sales, please.")
    return leg


def test_a_transferred_call_ends_with_the_leg_to_the_target(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    transferring_leg: Leg,
    sales_number: str,
) -> None:
    assert command_names(transferring_leg)[-3:] == ["speak", "stop_transcription", "transfer"]
    assert not transferring_leg.transcribing  # the conversation with the target is private
    assert transferring_leg.target is not None
    assert transferring_leg.target.to == sales_number
    state_during_transfer = call_record.end_state
    assert state_during_transfer == ("transferring", None)

    carrier_client.switch.bridge(transferring_leg)
    carrier_client.deliver_events()
    carrier_client.switch.end_target(transferring_leg)
    carrier_client.deliver_events()

    assert call_record.end_state == ("completed", "transferred")


@pytest.mark.parametrize(
    "cause", ["user_busy", "call_rejected", "timeout", "no_answer", "not_found", "unspecified"]
)
def test_after_a_failed_transfer_the_agent_continues_the_call(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, transferring_leg: Leg, cause: str
) -> None:
    carrier_client.switch.end_target(transferring_leg, cause)
    carrier_client.deliver_events()
    carrier_client.say(transferring_leg, "When are they in?")

    assert UNREACHED_TEXT in spoken_texts(transferring_leg)[-2]
    assert spoken_texts(transferring_leg)[-1] == "At nine."
    assert call_record.end_state == ("in_progress", None)


def test_a_hang_up_during_a_transfer_ends_the_call(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, transferring_leg: Leg
) -> None:
    carrier_client.hang_up(transferring_leg)

    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_failed_forward_ends_the_call(
    carrier_client: TelnyxCarrierClient, acme: Tenant, sales_number: str
) -> None:
    number = acme.number(provider_type="telnyx", mode="forward", forward_to=sales_number)
    leg = carrier_client.ring(number["did_number"])
    assert command_names(leg) == ["answer", "transfer"]

    carrier_client.switch.end_target(leg, "user_busy")
    carrier_client.deliver_events()

    assert command_names(leg) == ["answer", "transfer", "hangup"]
    assert not leg.alive


@pytest.fixture
def voicemail_number(carrier_client: TelnyxCarrierClient, acme: Tenant) -> str:
    """Return a closed number whose callers may leave a message."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    hours = {"weekly": {}, "closed_action": "voicemail"}
    number: str = acme.number(provider_type="telnyx", hours=hours)["did_number"]
    return number


@pytest.mark.parametrize("ended_by", ["the caller", "the recording limit"])
def test_a_voicemail_creates_a_message_with_its_audio(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    world: Factory,
    voicemail_number: str,
    ended_by: str,
) -> None:
    leg = carrier_client.ring(voicemail_number)
    assert command_names(leg) == ["answer", "speak", "start_recording"]

    if ended_by == "the recording limit":
        carrier_client.switch.fill_recording(leg)
        carrier_client.deliver_events()
    else:
        carrier_client.hang_up(leg)
    world.run_jobs(call_record.tenant)

    assert not leg.alive
    assert call_record.end_state == ("completed", "voicemail")
    [message] = call_record.messages
    assert call_record.tenant.api.get(message["audio"]).data == b"RIFF of " + leg.id.encode()
    assert carrier_client.switch.recordings == {}


def test_a_recording_starts_after_the_consent_and_its_audio_is_fetched(
    carrier_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord, world: Factory
) -> None:
    acme.profile(greeting="Acme here.", recording=True)
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])

    carrier_client.hang_up(leg)
    world.run_jobs(call_record.tenant)

    assert command_names(leg)[:5] == [
        *("answer", "start_transcription", "speak"),
        *("start_recording", "gather_using_speak"),
    ]
    assert spoken_texts(leg) == ["This call is recorded.", "Acme here."]
    response = acme.get(f"/calls/{call_record.call['id']}/recording")
    assert response.data == b"RIFF of " + leg.id.encode()
    assert carrier_client.switch.recordings == {}


# --- Outbound calls ---


@pytest.fixture
def outbound_leg(
    carrier_client: TelnyxCarrierClient, acme: Tenant, number: str, world: Factory
) -> Leg:
    """Return the leg of an outbound call of acme that rings."""
    [phone_number] = acme.get("/phone-numbers").json
    with tenant_session(acme.ref, database=app_services().database) as session:
        to = fresh_number()
        call = outbound_calls.place_call(
            session, to=to, from_phone_number_id=UUID(phone_number["id"]), services=app_services()
        )
        ref = CallRef(acme.ref, call.id)
    outbound_calls.dial(ref, services=app_services())
    carrier_client.deliver_events()
    [leg] = carrier_client.switch.dialled.values()
    return leg


def test_a_called_person_is_greeted_and_answered(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    outbound_leg: Leg,
    number: str,
) -> None:
    script_model(["At nine."])
    assert (outbound_leg.from_, call_record.call["provider_call_id"]) == (number, outbound_leg.id)

    carrier_client.switch.answer_leg(outbound_leg)
    carrier_client.deliver_events()
    carrier_client.say(outbound_leg, "When?")
    carrier_client.hang_up(outbound_leg)

    assert spoken_texts(outbound_leg) == ["Acme here.", "At nine."]
    assert call_record.end_state == ("completed", "caller_hangup")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("user_busy", "busy"), ("timeout", "no_answer"), ("not_found", "invalid_number")],
)
def test_an_unanswered_outbound_call_fails_with_its_reason(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    outbound_leg: Leg,
    cause: str,
    reason: str,
) -> None:
    carrier_client.switch.end_leg(outbound_leg, cause)
    carrier_client.deliver_events()

    assert call_record.end_state == ("failed", reason)


def test_an_outbound_call_is_transferred_with_the_tenants_number(
    carrier_client: TelnyxCarrierClient,
    acme: Tenant,
    script_model: ScriptModel,
    outbound_leg: Leg,
    number: str,
    sales_number: str,
) -> None:
    script_model([transfer("sales")])
    carrier_client.switch.answer_leg(outbound_leg)
    carrier_client.deliver_events()
    carrier_client.say(outbound_leg, "Sales, please.")
    target_before_update = outbound_leg.target
    assert target_before_update is None  # the profile of this call has no such target

    carrier = app_services().carriers.adapter("telnyx")
    assert carrier is not None
    reply = CallReply((permits.transfer(sales_number),), "token")
    carrier.update_live_call(outbound_leg.id, reply, callback_url=f"{BASE_URL}/telephony/telnyx/")

    assert outbound_leg.target is not None
    assert outbound_leg.target.from_ == number
