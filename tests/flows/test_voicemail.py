"""Voicemail: what a caller leaves out of hours is kept once, whatever is told first."""

from itertools import permutations

import pytest
from sqlalchemy import select

from tests.flows.conftest import RealCarrier, Record
from tests.support.carrier_line import CALLER, CarrierLine, kinds, words
from tests.support.world import Tenant, World
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
    line: CarrierLine, record: Record, number: str
) -> None:
    first, again = (line.ring(number, "night-1") for _ in range(2))

    assert first == again
    assert kinds(first) == ["say", "take_voicemail"]
    assert words(first) == "Leave us a message."
    assert record.end == ("in_progress", None)


def test_what_a_caller_leaves_is_a_message_and_its_audio_is_fetched(
    line: CarrierLine, real: RealCarrier, record: Record, world: World, number: str
) -> None:
    state = line.ring(number, "night-1")["state"]
    real.add_recording("night-1", AUDIO, provider_recording_id="RE1")

    answers = [line.tell("voicemail", "night-1", state, recording_id="RE1") for _ in range(2)]
    world.work(record.tenant)

    assert [kinds(answer) for answer in answers] == [["hang_up"]] * 2
    assert record.end == ("completed", "voicemail")
    [message] = record.messages
    assert (message["kind"], message["caller_number"]) == ("voicemail", CALLER)
    assert _recordings(record.tenant) == [("voicemail", "RE1")]
    assert record.tenant.api.get(message["audio"]).data == AUDIO


def test_a_voicemail_is_kept_whether_its_word_or_the_hang_up_comes_first(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    for attempt, order in enumerate(permutations(["voicemail", "hang-up", "voicemail"])):
        call = f"night-{attempt}"
        state = line.ring(number, call)["state"]
        for told in order:
            if told == "voicemail":
                line.tell("voicemail", call, state, recording_id="RE1")
            else:
                line.status(call, "completed", state=state)

    calls = acme.get("/calls").json
    assert {(call["status"], call["end_reason"]) for call in calls} == {("completed", "voicemail")}
    left = [message["call_id"] for message in acme.get("/messages").json]
    assert sorted(left) == sorted(call["id"] for call in calls)


def test_who_hangs_up_before_the_tone_leaves_no_message(
    line: CarrierLine, record: Record, number: str
) -> None:
    state = line.ring(number, "night-1")["state"]

    line.status("night-1", "completed", state=state)

    assert record.end == ("completed", "caller_hangup")
    assert record.messages == []
    assert _recordings(record.tenant) == []


def test_voicemail_without_a_token_is_taken_and_changes_nothing(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    assert line.tell("voicemail", "nobody", None, to=number)["actions"] == []
    assert acme.get("/messages").json == []
