"""Voicemail: what a caller leaves out of hours is kept once, whatever is told first."""

from itertools import permutations

import pytest
from sqlalchemy import select

from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support.carrier_client import CALLER, CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant
from vca.tenancy.session import tenant_session
from vca.tenant.recordings.models import Recording

NIGHT = {"weekly": {}, "closed_action": "voicemail"}
AUDIO = b"RIFF of a voice"


@pytest.fixture
def number(acme: Tenant) -> str:
    """A number whose callers may leave a message now."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    found: str = acme.number(hours=NIGHT)["did_number"]
    return found


def _recordings(tenant: Tenant) -> list[tuple[str, str | None]]:
    with tenant_session(tenant.ref) as session:
        return [(it.kind, it.provider_recording_id) for it in session.scalars(select(Recording))]


def test_who_calls_at_night_is_asked_for_a_message(
    carrier_client: CarrierClient, call_record: CallRecord, number: str
) -> None:
    first, again = (carrier_client.ring(number, "night-1") for _ in range(2))

    assert first == again
    assert action_types(first) == ["say", "take_voicemail"]
    assert spoken_text(first) == "Leave us a message."
    assert call_record.end_state == ("in_progress", None)


def test_what_a_caller_leaves_is_a_message_and_its_audio_is_fetched(
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    call_record: CallRecord,
    world: Factory,
    number: str,
) -> None:
    state = carrier_client.ring(number, "night-1")["state"]
    real_carrier.add_recording("night-1", AUDIO, provider_recording_id="RE1")

    answers = [
        carrier_client.send_event("voicemail", "night-1", state, recording_id="RE1")
        for _ in range(2)
    ]
    world.run_jobs(call_record.tenant)

    assert [action_types(answer) for answer in answers] == [["hang_up"]] * 2
    assert call_record.end_state == ("completed", "voicemail")
    [message] = call_record.messages
    assert (message["kind"], message["caller_number"]) == ("voicemail", CALLER)
    assert _recordings(call_record.tenant) == [("voicemail", "RE1")]
    assert call_record.tenant.api.get(message["audio"]).data == AUDIO


def test_a_voicemail_is_kept_whether_its_word_or_the_hang_up_comes_first(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    for attempt, order in enumerate(permutations(["voicemail", "hang-up", "voicemail"])):
        call = f"night-{attempt}"
        state = carrier_client.ring(number, call)["state"]
        for told in order:
            if told == "voicemail":
                carrier_client.send_event("voicemail", call, state, recording_id="RE1")
            else:
                carrier_client.send_status(call, "completed", state=state)

    calls = acme.get("/calls").json
    assert {(call["status"], call["end_reason"]) for call in calls} == {("completed", "voicemail")}
    left = [message["call_id"] for message in acme.get("/messages").json]
    assert sorted(left) == sorted(call["id"] for call in calls)


def test_who_hangs_up_before_the_tone_leaves_no_message(
    carrier_client: CarrierClient, call_record: CallRecord, number: str
) -> None:
    state = carrier_client.ring(number, "night-1")["state"]

    carrier_client.send_status("night-1", "completed", state=state)

    assert call_record.end_state == ("completed", "caller_hangup")
    assert call_record.messages == []
    assert _recordings(call_record.tenant) == []


def test_voicemail_without_a_token_is_taken_and_changes_nothing(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    assert carrier_client.send_event("voicemail", "nobody", None, to=number)["actions"] == []
    assert acme.get("/messages").json == []
