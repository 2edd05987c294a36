"""What the fake carrier does for tests: recorded operations, injected failures, strict requests."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.contract.suites.telephony import (
    ACME,
    CALLBACK,
    CALLER,
    NUMBER,
    STATE,
    inbound_metadata,
    new_call_id,
    outbound_call,
)
from tests.support import permits
from vca.kit import json
from vca.observability import log
from vca.telephony.adapter import InvalidCarrierRequest, TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CallReply, Listen, Reject, Say


def test_operations_are_recorded_in_order() -> None:
    carrier, phone_number_id, call = FakeTelephonyAdapter(), uuid4(), new_call_id()

    carrier.register_number(ACME, phone_number_id, NUMBER)
    carrier.on_inbound_call(inbound_metadata(call))
    carrier.update_live_call(
        call, CallReply((permits.transfer(CALLER, 9),), STATE), callback_url=CALLBACK
    )
    carrier.find_call_status(call)
    carrier.hang_up(call)
    carrier.fetch_recording(call)
    carrier.delete_recording(call)
    carrier.unregister_number(ACME, phone_number_id, NUMBER)

    assert list(carrier.operations) == [
        ("register_number", {"tenant_id": ACME, "did_number": NUMBER}),
        ("on_inbound_call", {"call_id": call}),
        (
            "direct",
            {
                "call_id": call,
                "actions": [{"type": "transfer", "number": CALLER, "timeout_s": 9}],
                "state": STATE,
                "callback_url": CALLBACK,
            },
        ),
        ("look_up", {"call_id": call}),
        ("hang_up", {"call_id": call}),
        ("recording", {"call_id": call}),
        ("delete_recording", {"call_id": call}),
        ("unregister_number", {"tenant_id": ACME, "did_number": NUMBER}),
    ]


def test_the_number_of_recorded_operations_is_limited() -> None:
    carrier = FakeTelephonyAdapter()

    for _ in range(1_500):
        carrier.hang_up("call")

    assert len(carrier.operations) == 1_000


def test_operations_are_logged_without_full_numbers_texts_or_tokens() -> None:
    carrier, secret = FakeTelephonyAdapter(), "My PIN is 1234."
    reply = CallReply((Say(secret), permits.transfer(CALLER)), STATE)
    log.configure("info")

    with capture_logs() as logs:
        carrier.register_number(ACME, uuid4(), NUMBER)
        carrier.update_live_call("call-1", reply, callback_url=CALLBACK)
        carrier.place_call(outbound_call())

    assert [(line["event"], line["what"]) for line in logs] == [
        ("fake_carrier.asked", "register_number"),
        ("fake_carrier.asked", "direct"),
        ("fake_carrier.asked", "place_call"),
    ]
    assert logs[0]["did_number"] == "+14•••0100"
    assert logs[1]["actions"] == "say transfer"
    for sensitive_text in (CALLER, NUMBER, secret, STATE):
        assert sensitive_text not in str(logs)


def test_a_placed_call_is_live_until_it_ends() -> None:
    carrier = FakeTelephonyAdapter()
    call = carrier.place_call(outbound_call())
    before = carrier.find_call_status(call)

    carrier.end_silently(call)
    after = carrier.find_call_status(call)

    assert before is not None
    assert before.event is None
    assert after is not None
    assert after.event is not None
    assert (after.event.event_type, after.event.end_reason) == ("ENDED", "caller_hangup")


def test_injected_failures_are_raised_once_and_in_order() -> None:
    carrier = FakeTelephonyAdapter()
    errors = [TelephonyError(message, permanent=False) for message in ("one", "two")]
    for error in errors:
        carrier.fail_next(error)

    for error in errors:
        with pytest.raises(TelephonyError) as error_info:
            carrier.hang_up("call")
        assert error_info.value is error

    carrier.hang_up("call")


def test_a_failed_registration_registers_nothing() -> None:
    carrier = FakeTelephonyAdapter()
    carrier.fail_next(TelephonyError("busy", permanent=False))

    with pytest.raises(TelephonyError):
        carrier.register_number(ACME, uuid4(), NUMBER)

    assert carrier.registered_numbers == {}


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("voice", {}),
        ("voice", {"call_id": ""}),
        ("voice", {"call_id": None}),
        ("voice", {"call_id": 7}),
        ("voice", {"call_id": "x" * 129}),
        ("voice", {"call_id": "a", "to": ["+14155550100"]}),
        ("voice", {"call_id": "a", "to": "x" * 65}),
        ("voice", {"call_id": "a", "from": {"number": "+1"}}),
        ("speech", {"call_id": "a", "text": "x" * 10_001}),
        ("speech", {"call_id": "a", "state": "x" * 2_001}),
        ("status", {"call_id": "a"}),
        ("status", {"call_id": "a", "status": "exploded"}),
        ("status", {"call_id": "a", "status": "completed", "at": "yesterday"}),
        ("status", {"call_id": "a", "status": "completed", "at": "2026-11-22T18:00:00"}),
        ("status", {"call_id": "a", "status": "completed", "at": "0001-01-01T00:00:00+00:00"}),
        ("status", {"call_id": "a", "status": "completed", "at": "9999-12-31T23:59:59-23:59"}),
        ("keys", {"call_id": "a", "keys": "12A"}),
        ("keys", {"call_id": "a", "keys": "1" * 33}),
        ("keys", {"call_id": "a", "keys": "\u0661"}),
        ("keys", {"call_id": "a", "keys": 1}),
        ("leg", {"call_id": "a"}),
        ("leg", {"call_id": "a", "outcome": "exploded"}),
        ("leg", {"call_id": "a", "outcome": ["busy"]}),
        ("voicemail", {"call_id": "a", "recording_id": "x" * 129}),
        ("recording", {"call_id": "a", "recording_id": {}}),
        ("interrupted", {"call_id": "a", "text": 5}),
        ("more", {"call_id": "a", "state": 5}),
        ("answered", {}),
        ("call", {"call_id": "a"}),
        ("explode", {"call_id": "a"}),
    ],
)
def test_a_request_that_the_fake_carrier_does_not_send_is_rejected(
    action: str, fields: dict[str, Any]
) -> None:
    carrier = FakeTelephonyAdapter()

    with pytest.raises(InvalidCarrierRequest):
        carrier.parse(carrier.signed_request(action, CALLBACK, **fields))


def test_a_status_has_the_time_and_the_code_of_the_carrier() -> None:
    carrier = FakeTelephonyAdapter()
    ended_at = datetime(2026, 11, 22, 19, 30, tzinfo=timezone(timedelta(hours=1)))
    request = carrier.signed_request(
        "status",
        CALLBACK,
        call_id="a",
        status="failed",
        at=ended_at.isoformat(),
        code="SIP 503",
    )

    event = carrier.parse(request).event

    assert event is not None
    assert event.timestamp == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    assert event.end_detail == "SIP 503"


def test_a_rendered_response_contains_the_complete_reply() -> None:
    reply = CallReply((Say("Hi.", "en-GB", "amy"), Listen(7, "en-GB"), Reject("busy")), "token")

    response = FakeTelephonyAdapter().render(reply, callback_url=CALLBACK)

    assert json.loads(response.body) == {
        "actions": [
            {"type": "say", "text": "Hi.", "language": "en-GB", "voice": "amy"},
            {"type": "listen", "silence_s": 7, "language": "en-GB"},
            {"type": "reject", "reason": "busy"},
        ],
        "state": "token",
        "callback_url": CALLBACK,
    }
