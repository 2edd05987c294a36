"""Voicemail outside opening hours: one message for each call, in any order of its events."""

from itertools import permutations

import pytest
from sqlalchemy import select

from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support.carrier_client import CALLER, CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.tenancy.session import tenant_session
from vca.tenant.recordings.models import Recording

CLOSED_HOURS = {"weekly": {}, "closed_action": "voicemail"}
AUDIO = b"RIFF of a voice"


@pytest.fixture
def number(acme: Tenant) -> str:
    """Return a closed number whose callers may leave a message."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    number: str = acme.number(hours=CLOSED_HOURS)["did_number"]
    return number


def _list_recordings(tenant: Tenant) -> list[tuple[str, str | None]]:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        recordings = session.scalars(select(Recording))
        return [(row.kind, row.provider_recording_id) for row in recordings]


def test_a_caller_outside_opening_hours_is_invited_to_leave_a_message(
    carrier_client: CarrierClient, call_record: CallRecord, number: str
) -> None:
    first, repeated = (carrier_client.ring(number, "night-1") for _ in range(2))

    assert first == repeated
    assert action_types(first) == ["say", "take_voicemail"]
    assert spoken_text(first) == "Leave us a message."
    assert call_record.end_state == ("in_progress", None)


def test_a_voicemail_creates_one_message_with_its_audio(
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    call_record: CallRecord,
    world: Factory,
    number: str,
) -> None:
    state = carrier_client.ring(number, "night-1")["state"]
    real_carrier.add_recording("night-1", AUDIO, provider_recording_id="RE1")

    responses = [
        carrier_client.send_event("voicemail", "night-1", state, recording_id="RE1")
        for _ in range(2)
    ]
    world.run_jobs(call_record.tenant)

    assert [action_types(response) for response in responses] == [["hang_up"]] * 2
    assert call_record.end_state == ("completed", "voicemail")
    [message] = call_record.messages
    assert (message["kind"], message["caller_number"]) == ("voicemail", CALLER)
    assert _list_recordings(call_record.tenant) == [("voicemail", "RE1")]
    assert call_record.tenant.api.get(message["audio"]).data == AUDIO


def test_the_voicemail_event_and_the_hang_up_may_arrive_in_any_order(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    for attempt, order in enumerate(permutations(["voicemail", "hang-up", "voicemail"])):
        call_id = f"night-{attempt}"
        state = carrier_client.ring(number, call_id)["state"]
        for event in order:
            if event == "voicemail":
                carrier_client.send_event("voicemail", call_id, state, recording_id="RE1")
            else:
                carrier_client.send_status(call_id, "completed", state=state)

    calls = acme.get("/calls").json
    assert {(call["status"], call["end_reason"]) for call in calls} == {("completed", "voicemail")}
    message_call_ids = [message["call_id"] for message in acme.get("/messages").json]
    assert sorted(message_call_ids) == sorted(call["id"] for call in calls)


def test_a_hang_up_before_the_recording_leaves_no_message(
    carrier_client: CarrierClient, call_record: CallRecord, number: str
) -> None:
    state = carrier_client.ring(number, "night-1")["state"]

    carrier_client.send_status("night-1", "completed", state=state)

    assert call_record.end_state == ("completed", "caller_hangup")
    assert call_record.messages == []
    assert _list_recordings(call_record.tenant) == []


def test_a_voicemail_event_without_a_state_token_changes_nothing(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    assert carrier_client.send_event("voicemail", "nobody", None, to=number)["actions"] == []
    assert acme.get("/messages").json == []
