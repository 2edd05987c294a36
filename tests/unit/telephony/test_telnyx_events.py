"""Tests of parsing Telnyx events; events without a meaning for VCA change nothing."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.carriers.telnyx.accounts import CALLER, NUMBER, STATE_SIGNER, leg_event
from tests.fakes.carriers.telnyx.signing import Signer
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.providers.telnyx import events, hangup_causes
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.providers.telnyx.events import EventContext
from vca.telephony.types import Caller, CarrierEvent, LegOutcome

SIGNER = Signer()
CALL, TOKEN = "v3:call-of-a-test", "a.token-of_ours"


def parse_event(event: dict[str, Any]) -> CarrierEvent:
    return events.parse_carrier_event(SIGNER.request(event), STATE_SIGNER, ())


def parse_leg_event(event_type: str, phase: Any = None, **payload: Any) -> CarrierEvent:
    """Parse an event of a leg in this phase."""
    leg_state = LegState(phase, TOKEN, "" if phase == "dial" else CALL) if phase else None
    return parse_event(leg_event(event_type, mark=leg_state, **payload))


def deferred_state(carrier_event: CarrierEvent) -> LegState | None:
    """Return the state whose commands are due."""
    assert isinstance(carrier_event.adapter_data, EventContext)
    return carrier_event.adapter_data.deferred


def transcription(transcript: str, **fields: Any) -> dict[str, Any]:
    """Return the payload of a transcription event."""
    return {"transcription_data": {"transcript": transcript, "is_final": True, **fields}}


# --- Start of a call ----------------------------------------------------------------------------


def test_an_inbound_call_is_unanswered_until_call_answered() -> None:
    initiated = parse_leg_event("call.initiated", direction="incoming", state="parked")
    answered = parse_leg_event("call.answered", "ring")

    assert (initiated.kind, initiated.unanswered, initiated.state) == ("call", True, None)
    assert (answered.kind, answered.unanswered, answered.state) == ("call", False, None)
    assert initiated.provider_call_id == answered.provider_call_id == CALL
    assert initiated.request_id != answered.request_id
    assert (answered.called_number, answered.caller) == (NUMBER, Caller(CALLER, "shown"))


def test_only_the_number_and_the_session_of_a_parked_call_count() -> None:
    mark = LegState("ring", TOKEN, CALL, own_number="+14155550102")
    event = leg_event("call.initiated", mark=mark, direction="outgoing", state="parked")

    parked = parse_event(event)

    assert (parked.kind, parked.unanswered, parked.state) == ("call", True, None)
    assert (parked.called_number, parked.caller) == (NUMBER, Caller(None, "other"))
    assert parked.adapter_data == EventContext(event["data"]["payload"]["call_session_id"])


def test_a_number_is_read_from_a_sip_address() -> None:
    carrier_event = parse_leg_event(
        "call.initiated", direction="incoming", to=f"sip:{NUMBER}@sip.telnyx.com;user=phone"
    )

    assert carrier_event.called_number == NUMBER


@pytest.mark.parametrize("event_type", ["call.initiated", "call.answered"])
@pytest.mark.parametrize("phase", [None, "target", "left", "listening"])
def test_a_leg_of_no_caller_starts_no_call(event_type: str, phase: str | None) -> None:
    carrier_event = parse_leg_event(event_type, phase, direction="outgoing")

    assert (carrier_event.kind, deferred_state(carrier_event)) == ("progress", None)


# --- Speech and keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        transcription("Hello", is_final=False),
        transcription("Hello", is_final=None),
        transcription("Hello", is_final="true"),
        transcription(""),
        transcription("   "),
        transcription("Hello", transcription_track="outbound"),
    ],
)
def test_only_a_final_transcript_of_the_caller_is_a_turn(payload: dict[str, Any]) -> None:
    assert parse_leg_event("call.transcription", "listening", **payload).kind == "progress"


@pytest.mark.parametrize("phase", ["ring", "then", "more", "transfer", "voicemail", "left", "done"])
def test_speech_is_a_turn_only_while_the_leg_listens(phase: str) -> None:
    assert parse_leg_event("call.transcription", phase, **transcription("Hello")).kind == "progress"
    assert parse_leg_event("call.gather.ended", phase, status="valid", digits="1").kind in (
        "progress",
        "more",
    )


@pytest.mark.parametrize(
    ("status", "digits", "kind"),
    [
        ("valid", "12#", "keys"),
        ("timeout", "12", "keys"),
        ("invalid", "1", "keys"),
        ("timeout", "", "speech"),
        ("invalid", "", "speech"),
        ("valid", "", "speech"),
        ("valid", "12D", "progress"),
        ("valid", "1" * 33, "progress"),
        ("call_hangup", "", "progress"),
        ("cancelled", "", "progress"),
        ("cancelled", "12", "progress"),
        ("cancelled_amd", "", "progress"),
        ("a status of the future", "", "speech"),
    ],
)
def test_a_gather_ends_with_keys_with_silence_or_cancelled(
    status: str, digits: str, kind: str
) -> None:
    carrier_event = parse_leg_event("call.gather.ended", "listening", status=status, digits=digits)

    assert carrier_event.kind == kind
    assert (carrier_event.keys, carrier_event.speech) == (digits if kind == "keys" else "", "")


def test_the_end_of_a_filler_requests_the_remaining_reply() -> None:
    assert parse_leg_event("call.speak.ended", "more", status="completed").kind == "more"
    assert parse_leg_event("call.gather.ended", "more", status="timeout").kind == "more"
    assert parse_leg_event("call.speak.ended", "more", status="call_hangup").kind == "progress"
    assert parse_leg_event("call.speak.started", "more").kind == "progress"


def test_deferred_commands_are_due_at_the_end_of_speech() -> None:
    leg_state = LegState("then", TOKEN, CALL, rest=({"command": "hangup"},))

    speech_end = parse_event(leg_event("call.speak.ended", mark=leg_state, status="completed"))
    other_events = [
        parse_event(leg_event(event_type, mark=leg_state, **payload))
        for event_type, payload in (
            ("call.speak.started", {}),
            ("call.dtmf.received", {"digit": "1"}),
            ("call.gather.ended", {"status": "cancelled"}),
            ("call.speak.ended", {"status": "call_hangup"}),
        )
    ]

    deferred = deferred_state(speech_end)
    assert deferred is not None
    assert (speech_end.kind, speech_end.state) == ("progress", TOKEN)
    assert replace(deferred, session="") == leg_state
    assert speech_end.deferred_actions == ("hangup",)
    assert [(event.kind, deferred_state(event)) for event in other_events] == [
        ("progress", None)
    ] * 4


# --- End of a call ------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", hangup_causes.OUTCOMES_BY_CAUSE)
def test_every_cause_has_an_end_reason_and_is_recorded(cause: str) -> None:
    carrier_event = parse_leg_event(
        "call.hangup", "listening", hangup_cause=cause, hangup_source="caller"
    )

    assert carrier_event.event is not None
    expected = hangup_causes.OUTCOMES_BY_CAUSE[cause]
    assert (carrier_event.event.event_type, carrier_event.event.end_reason) == (
        expected.event_type,
        expected.end_reason,
    )
    assert carrier_event.event.end_detail == cause
    assert carrier_event.event.details == {"hangup_source": "caller"}


@pytest.mark.parametrize(("phase", "reason"), [("ring", "cancelled"), ("dial", "no_answer")])
def test_a_call_that_is_cleared_before_an_answer_has_failed(phase: str, reason: str) -> None:
    carrier_event = parse_leg_event("call.hangup", phase, hangup_cause="normal_clearing")

    assert carrier_event.event is not None
    assert (carrier_event.event.event_type, carrier_event.event.end_reason) == ("FAILED", reason)


def test_an_unknown_cause_ends_the_call() -> None:
    carrier_event = parse_leg_event(
        "call.hangup", "listening", hangup_cause="melted\x85" + "x" * 100
    )

    assert carrier_event.event is not None
    assert (carrier_event.event.event_type, carrier_event.event.end_reason) == (
        "FAILED",
        "carrier_error",
    )
    assert carrier_event.event.end_detail == "melted" + "x" * 58


def test_a_repeated_end_has_the_same_event_key() -> None:
    first, second = (
        parse_leg_event("call.hangup", "listening", hangup_cause="user_busy") for _ in range(2)
    )

    assert first.event is not None
    assert second.event is not None
    assert first.request_id != second.request_id
    assert first.event.key == second.event.key


@pytest.mark.parametrize(
    ("cause", "leg"),
    [(cause, outcome.leg) for cause, outcome in hangup_causes.OUTCOMES_BY_CAUSE.items()],
)
def test_every_cause_has_an_outcome_of_a_transfer_leg(cause: str, leg: LegOutcome) -> None:
    carrier_event = parse_leg_event(
        "call.hangup", "target", call_id="v3:target", hangup_cause=cause
    )

    assert (carrier_event.kind, carrier_event.leg, carrier_event.state) == ("leg", leg, TOKEN)
    assert carrier_event.provider_call_id == CALL  # the waiting caller, not the leg that has ended


def test_a_failed_forward_hangs_up_the_waiting_caller() -> None:
    leg_state = LegState("target", None, CALL)
    missed_forward, reached_forward = (
        parse_event(
            leg_event("call.hangup", call_id="v3:target", mark=leg_state, hangup_cause=cause)
        )
        for cause in ("user_busy", "normal_clearing")
    )

    deferred = deferred_state(missed_forward)
    assert deferred is not None
    assert (missed_forward.kind, missed_forward.provider_call_id, deferred.call) == (
        "progress",
        CALL,
        CALL,
    )
    assert deferred.rest == ({"command": "hangup"},)
    assert (reached_forward.kind, deferred_state(reached_forward)) == ("progress", None)


# --- Recordings ---------------------------------------------------------------------------------


def test_a_recording_event_has_its_call_from_the_client_state() -> None:
    carrier_event = parse_leg_event("call.recording.saved", "voicemail")

    assert (carrier_event.kind, carrier_event.provider_call_id, carrier_event.recording_id) == (
        "voicemail",
        CALL,
        None,
    )
    assert parse_leg_event("call.recording.saved", "done").kind == "recording"


def test_a_failed_recording_of_a_voicemail_hangs_up() -> None:
    carrier_event = parse_leg_event(
        "call.recording.error", "voicemail", reason="Internal server error"
    )
    other_event = parse_leg_event(
        "call.recording.error", "listening", reason="Internal server error"
    )

    deferred = deferred_state(carrier_event)
    assert deferred is not None
    assert deferred.rest == ({"command": "hangup"},)
    assert (other_event.kind, deferred_state(other_event)) == ("progress", None)


# --- Other and invalid events -------------------------------------------------------------------


@pytest.mark.parametrize(
    "event_type",
    [
        "call.bridged",
        "call.cost",
        "call.conversation.ended",
        "call.dtmf.received",
        "call.enqueued",
        "call.machine.detection.ended",
        "call.playback.ended",
        "call.recording.transcription.saved",
        "call.speak.started",
        "number_order.complete",
        "streaming.failed",
        "a type of the future",
    ],
)
@pytest.mark.parametrize("phase", [None, "listening", "target"])
def test_an_irrelevant_event_changes_nothing(event_type: str, phase: str | None) -> None:
    carrier_event = parse_leg_event(event_type, phase)

    assert (
        carrier_event.kind,
        deferred_state(carrier_event),
        carrier_event.event,
        carrier_event.leg,
    ) == ("progress", None, None, None)


def test_an_event_without_a_call_is_parsed() -> None:
    event = leg_event("number_order.complete")
    event["data"]["payload"] = {"phone_numbers": []}

    assert parse_event(event).provider_call_id == event["data"]["id"]


@pytest.mark.parametrize(
    "client_state",
    [
        "aGF2ZSBhIG5pY2UgZGF5ID1d",
        "%%%",
        "",
        7,
        {"phase": "more"},
        "bnVsbA==",
        "A" * 40_000,
    ],
)
def test_a_foreign_client_state_is_ignored(client_state: Any) -> None:
    event = leg_event("call.gather.ended", status="timeout")
    event["data"]["payload"]["client_state"] = client_state

    assert parse_event(event).kind == "progress"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("id", ""),
        ("id", 7),
        ("id", "x" * 257),
        ("event_type", None),
        ("event_type", ["call.hangup"]),
        ("occurred_at", None),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-11-22T18:00:00"),
        ("occurred_at", "0001-01-01T00:00:00+00:00"),
        ("payload", None),
        ("payload", []),
    ],
)
def test_an_invalid_envelope_is_rejected(field: str, value: Any) -> None:
    event = leg_event("call.hangup", hangup_cause="normal_clearing")
    event["data"][field] = value

    with pytest.raises(InvalidCarrierRequest):
        parse_event(event)


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        ("call.initiated", {"direction": 7}),
        ("call.initiated", {"to": 7}),
        ("call.initiated", {"from_": {"number": CALLER}}),
        ("call.hangup", {"hangup_cause": ["busy"]}),
        ("call.gather.ended", {"digits": 7}),
        ("call.transcription", {}),
        ("call.transcription", {"transcription_data": "Hello"}),
        ("call.transcription", {"transcription_data": {"transcript": ["Hello"]}}),
        ("call.transcription", {"transcription_data": {"transcript": "x" * 10_001}}),
        ("call.recording.saved", {"recording_id": 7}),
    ],
)
def test_an_invalid_payload_is_rejected(event_type: str, payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidCarrierRequest):
        parse_leg_event(event_type, "listening", **payload)


@pytest.mark.parametrize("call_id", ["../../phone_numbers/1", "a b", "é", ".", "x" * 257])
def test_an_invalid_call_id_is_rejected(call_id: str) -> None:
    with pytest.raises(InvalidCarrierRequest):
        parse_leg_event("call.initiated", call_id=call_id, direction="incoming")


def test_an_unknown_action_is_rejected() -> None:
    adapter = TelnyxAdapter(
        api_client=ApiClient(""), state_signer=STATE_SIGNER, public_keys=(SIGNER.public_key,)
    )
    request = SIGNER.request(leg_event("call.initiated", direction="incoming"))

    with pytest.raises(InvalidCarrierRequest):
        adapter.parse(replace(request, action="voice"))
