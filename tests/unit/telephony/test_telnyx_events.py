"""What Telnyx tells, and what of it is a fact; all the rest changes nothing."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.carriers.telnyx.accounts import CALLER, NUMBER, leg_event
from tests.fakes.carriers.telnyx.signing import Signer
from vca.kit import json
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.providers.telnyx import client_state, events, hangup_causes
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import Caller, CarrierEvent, LegOutcome

SIGNER = Signer()
CALL, TOKEN = "v3:call-of-a-test", "a.token-of_ours"


def facts(told: dict[str, Any]) -> CarrierEvent:
    return events.parse_carrier_event(SIGNER.request(told))


def of(event_type: str, phase: Any = None, **said: Any) -> CarrierEvent:
    """The facts of an event of a leg in this phase."""
    mark = LegState(phase, TOKEN, CALL) if phase else None
    return facts(leg_event(event_type, mark=mark, **said))


def heard(transcript: str, **said: Any) -> dict[str, Any]:
    return {"transcription_data": {"transcript": transcript, "is_final": True, **said}}


# --- A call begins ------------------------------------------------------------------------------


def test_a_ring_can_not_be_spoken_into_and_the_same_call_can_once_it_was_answered() -> None:
    ring = of("call.initiated", direction="incoming", state="parked")
    answered = of("call.answered", "ring")

    assert (ring.kind, ring.unanswered, ring.state) == ("call", True, None)
    assert (answered.kind, answered.unanswered, answered.state) == ("call", False, None)
    assert ring.provider_call_id == answered.provider_call_id == CALL
    assert ring.request_id != answered.request_id
    assert (answered.called_number, answered.caller) == (NUMBER, Caller(CALLER, "shown"))


def test_a_number_is_read_out_of_a_sip_address() -> None:
    told = of("call.initiated", direction="incoming", to=f"sip:{NUMBER}@sip.telnyx.com;user=phone")

    assert told.called_number == NUMBER


@pytest.mark.parametrize("event_type", ["call.initiated", "call.answered"])
@pytest.mark.parametrize("phase", [None, "target", "left", "listening"])
def test_a_leg_that_is_not_a_callers_begins_nothing(event_type: str, phase: str | None) -> None:
    told = of(event_type, phase, direction="outgoing")

    assert (told.kind, told.adapter_data) == ("progress", "")


# --- What is heard ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        heard("Hello", is_final=False),
        heard("Hello", is_final=None),
        heard("Hello", is_final="true"),
        heard(""),
        heard("   "),
        heard("Hello", transcription_track="outbound"),
    ],
)
def test_what_is_not_a_callers_whole_word_is_no_turn(said: dict[str, Any]) -> None:
    assert of("call.transcription", "listening", **said).kind == "progress"


@pytest.mark.parametrize("phase", ["ring", "then", "more", "transfer", "voicemail", "left", "done"])
def test_a_caller_is_heard_only_while_he_is_listened_to(phase: str) -> None:
    assert of("call.transcription", phase, **heard("Hello")).kind == "progress"
    assert of("call.gather.ended", phase, status="valid", digits="1").kind in ("progress", "more")


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
def test_a_gather_ends_with_keys_a_silence_or_because_we_stopped_it(
    status: str, digits: str, kind: str
) -> None:
    told = of("call.gather.ended", "listening", status=status, digits=digits)

    assert told.kind == kind
    assert (told.keys, told.speech) == (digits if kind == "keys" else "", "")


def test_a_filler_that_was_said_asks_for_the_rest() -> None:
    assert of("call.speak.ended", "more", status="completed").kind == "more"
    assert of("call.gather.ended", "more", status="timeout").kind == "more"
    assert of("call.speak.ended", "more", status="call_hangup").kind == "progress"
    assert of("call.speak.started", "more").kind == "progress"


def test_what_waited_for_words_is_due_when_they_were_said_and_not_before() -> None:
    mark = LegState("then", TOKEN, CALL, rest=({"command": "hangup"},))

    said = facts(leg_event("call.speak.ended", mark=mark, status="completed"))
    others = [
        facts(leg_event(event_type, mark=mark, **more))
        for event_type, more in (
            ("call.speak.started", {}),
            ("call.dtmf.received", {"digit": "1"}),
            ("call.gather.ended", {"status": "cancelled"}),
            ("call.speak.ended", {"status": "call_hangup"}),
        )
    ]

    assert (said.kind, said.state, client_state.decode(said.adapter_data)) == (
        "progress",
        TOKEN,
        mark,
    )
    assert [(told.kind, told.adapter_data) for told in others] == [("progress", "")] * 4


# --- A call ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", hangup_causes.OUTCOMES_BY_CAUSE)
def test_every_cause_is_an_end_with_its_reason_and_the_cause_is_kept(cause: str) -> None:
    told = of("call.hangup", "listening", hangup_cause=cause, hangup_source="caller")

    assert told.event is not None
    known = hangup_causes.OUTCOMES_BY_CAUSE[cause]
    assert (told.event.event_type, told.event.end_reason) == (known.event_type, known.end_reason)
    assert told.event.end_detail == cause
    assert told.event.details == {"hangup_source": "caller"}


@pytest.mark.parametrize(("phase", "reason"), [("ring", "cancelled"), ("dial", "no_answer")])
def test_a_call_that_is_cleared_before_it_was_answered_has_failed(phase: str, reason: str) -> None:
    told = of("call.hangup", phase, hangup_cause="normal_clearing")

    assert told.event is not None
    assert (told.event.event_type, told.event.end_reason) == ("FAILED", reason)


def test_a_cause_that_is_new_to_us_ends_the_call_all_the_same() -> None:
    told = of("call.hangup", "listening", hangup_cause="melted\x85" + "x" * 100)

    assert told.event is not None
    assert (told.event.event_type, told.event.end_reason) == ("FAILED", "carrier_error")
    assert told.event.end_detail == "melted" + "x" * 58


def test_the_same_end_has_the_same_key_under_another_id() -> None:
    first, again = (of("call.hangup", "listening", hangup_cause="user_busy") for _ in range(2))

    assert first.event is not None
    assert again.event is not None
    assert first.request_id != again.request_id
    assert first.event.key == again.event.key


@pytest.mark.parametrize(
    ("cause", "leg"),
    [(cause, found.leg) for cause, found in hangup_causes.OUTCOMES_BY_CAUSE.items()],
)
def test_every_cause_is_an_outcome_of_a_transfers_leg(cause: str, leg: LegOutcome) -> None:
    told = of("call.hangup", "target", call_id="v3:target", hangup_cause=cause)

    assert (told.kind, told.leg, told.state) == ("leg", leg, TOKEN)
    assert told.provider_call_id == CALL  # who waits, and not the leg that has ended


def test_a_forward_that_was_not_reached_hangs_up_who_waits() -> None:
    mark = LegState("target", None, CALL)
    missed, reached = (
        facts(leg_event("call.hangup", call_id="v3:target", mark=mark, hangup_cause=cause))
        for cause in ("user_busy", "normal_clearing")
    )

    due = client_state.decode(missed.adapter_data)
    assert due is not None
    assert (missed.kind, missed.provider_call_id, due.call) == ("progress", CALL, CALL)
    assert due.rest == ({"command": "hangup"},)
    assert (reached.kind, reached.adapter_data) == ("progress", "")


# --- Recordings ---------------------------------------------------------------------------------


def test_word_of_a_recording_names_no_call_but_its_mark_does() -> None:
    told = of("call.recording.saved", "voicemail")

    assert (told.kind, told.provider_call_id, told.recording_id) == ("voicemail", CALL, None)
    assert of("call.recording.saved", "done").kind == "recording"


def test_who_leaves_a_voicemail_that_is_not_recorded_is_hung_up() -> None:
    told = of("call.recording.error", "voicemail", reason="Internal server error")
    other = of("call.recording.error", "listening", reason="Internal server error")

    due = client_state.decode(told.adapter_data)
    assert due is not None
    assert due.rest == ({"command": "hangup"},)
    assert (other.kind, other.adapter_data) == ("progress", "")


# --- Everything else ----------------------------------------------------------------------------


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
def test_what_says_nothing_to_us_changes_nothing(event_type: str, phase: str | None) -> None:
    told = of(event_type, phase)

    assert (told.kind, told.adapter_data, told.event, told.leg) == ("progress", "", None, None)


def test_an_event_without_a_call_is_read_too() -> None:
    told = leg_event("number_order.complete")
    told["data"]["payload"] = {"phone_numbers": []}

    assert facts(told).provider_call_id == told["data"]["id"]


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
def test_a_state_that_is_not_ours_is_none(client_state: Any) -> None:
    told = leg_event("call.gather.ended", status="timeout")
    told["data"]["payload"]["client_state"] = client_state

    assert facts(told).kind == "progress"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"phase": "asleep"},
        {"phase": ["more"]},
        {"phase": "more", "state": 7},
        {"phase": "more", "state": "x" * 2_001},
        {"phase": "more", "call": "../../phone_numbers"},
        {"phase": "more", "after": "never"},
        {"phase": "more", "rest": "hangup"},
        {"phase": "more", "rest": [{"command": "dial"}]},
        {"phase": "more", "rest": [{"command": "__class__"}]},
        {"phase": "more", "rest": ["hangup"]},
        {"phase": "more", "unknown": 1},
    ],
)
def test_a_mark_that_we_would_not_have_made_is_none(said: dict[str, Any]) -> None:
    assert client_state.decode(base64.b64encode(json.dumps(said)).decode()) is None


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
def test_an_envelope_that_telnyx_would_not_send_is_refused(field: str, value: Any) -> None:
    told = leg_event("call.hangup", hangup_cause="normal_clearing")
    told["data"][field] = value

    with pytest.raises(InvalidCarrierRequest):
        facts(told)


@pytest.mark.parametrize(
    ("event_type", "said"),
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
def test_a_payload_that_telnyx_would_not_send_is_refused(
    event_type: str, said: dict[str, Any]
) -> None:
    with pytest.raises(InvalidCarrierRequest):
        of(event_type, "listening", **said)


@pytest.mark.parametrize("call_id", ["../../phone_numbers/1", "a b", "é", ".", "x" * 257])
def test_what_can_be_no_calls_id_is_refused(call_id: str) -> None:
    with pytest.raises(InvalidCarrierRequest):
        of("call.initiated", call_id=call_id, direction="incoming")


def test_another_action_is_none_of_telnyxs() -> None:
    adapter = TelnyxAdapter(api_client=ApiClient(""), public_keys=(SIGNER.public_key,))
    request = SIGNER.request(leg_event("call.initiated", direction="incoming"))

    with pytest.raises(InvalidCarrierRequest):
        adapter.parse(replace(request, action="voice"))
