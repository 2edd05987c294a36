"""Tests of requests to Twilio: timeouts, retries, error codes, and outbound and live calls."""

from collections.abc import Iterator
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.suites.telephony import (
    ACME,
    CALLBACK,
    CALLER,
    NUMBER,
    STATE,
    new_call_id,
    outbound_call,
)
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    SHORT_TIMEOUTS,
    STATE_SIGNER,
    ConnectedTwilio,
    callback_url,
    connected_twilio,
)
from tests.fakes.carriers.twilio.server import FAILS, REJECTS, SILENT, Fault
from tests.support import permits
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio import errors
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import RestTimeouts, TwilioUrls
from vca.telephony.types import CallReply, HangUp, Say


@pytest.fixture
def twilio() -> Iterator[ConnectedTwilio]:
    with connected_twilio() as connection:
        yield connection


def _error_response(code: int, status: int = 400) -> Fault:
    body = f'{{"code": {code}, "message": "to {CALLER}", "more_info": "", "status": {status}}}'
    return Fault(status, body.encode())


def _place_failing_call(twilio: ConnectedTwilio) -> TelephonyError:
    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.place_call(outbound_call())
    return raised.value


def test_the_timeouts_are_within_the_contracts_limit() -> None:
    assert RestTimeouts().total_s < 10


# --- Error responses -------------------------------------------------------------------------


@pytest.mark.parametrize("code", errors.CODE_NAMES)
def test_a_code_that_the_product_distinguishes_has_a_name(
    twilio: ConnectedTwilio, code: int
) -> None:
    twilio.server.inject_fault(_error_response(code))

    error = _place_failing_call(twilio)

    assert (error.code, error.permanent, error.ambiguous) == (errors.CODE_NAMES[code], True, False)


@pytest.mark.parametrize("code", errors.TRANSIENT_CODES)
def test_a_transient_code_is_not_a_permanent_error(twilio: ConnectedTwilio, code: int) -> None:
    twilio.server.inject_fault(_error_response(code))

    error = _place_failing_call(twilio)

    assert (error.code, error.permanent, error.ambiguous) == (str(code), False, False)


@pytest.mark.parametrize(
    ("status", "code", "permanent", "ambiguous"),
    [
        (400, 21215, True, False),
        (401, 20003, True, False),
        (403, 20005, True, False),
        (404, 20404, True, False),
        (429, 20429, False, False),
        (500, 20500, False, True),
        (503, 20503, False, True),
    ],
)
def test_any_other_code_is_passed_on_unchanged(
    twilio: ConnectedTwilio, status: int, code: int, permanent: bool, ambiguous: bool
) -> None:
    twilio.server.inject_fault(_error_response(code, status))

    error = _place_failing_call(twilio)

    assert error.code == str(code)
    assert (error.permanent, error.ambiguous) == (permanent, ambiguous)


@pytest.mark.parametrize(
    ("fault", "code", "permanent", "ambiguous"),
    [
        (FAILS, "http-503", False, True),
        (Fault(400, b"<html>"), "http-400", True, False),
        (Fault(407, b'{"code": "x"}'), "http-407", True, False),
        (Fault(302, b"", {"location": "http://127.0.0.1:1/"}), "http-302", True, False),
        (Fault(201, b"<html>fine</html>"), "unreadable", False, True),
        (Fault(201, b"[]"), "unreadable", False, True),
        (Fault(201, b'{"hello": 1}'), "unreadable", False, True),
        (Fault(201, b"\xff\x00"), "unreadable", False, True),
        (Fault(201, b'{"sid": "CA', is_truncated=True), "no-answer", False, True),
    ],
)
def test_a_malformed_response_is_an_error(
    twilio: ConnectedTwilio, fault: Fault, code: str, permanent: bool, ambiguous: bool
) -> None:
    twilio.server.inject_fault(fault)

    error = _place_failing_call(twilio)

    assert error.code == code
    assert (error.permanent, error.ambiguous) == (permanent, ambiguous)


def test_an_error_message_contains_no_number(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(_error_response(21211))

    assert CALLER not in str(_place_failing_call(twilio))


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("7", 7), ("0", 0), ("99999", 3600), ("soon", None), ("-1", None), ("Sun, 22 Nov", None)],
)
def test_the_retry_after_header_is_passed_on(
    twilio: ConnectedTwilio, header: str, wait_s: int | None
) -> None:
    twilio.server.inject_fault(
        Fault(429, _error_response(20429, 429).body, {"retry-after": header})
    )

    assert _place_failing_call(twilio).retry_after_s == wait_s


def test_a_response_without_the_list_is_an_error(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(Fault(200, b'{"page": 0}'), times=2)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.check_number(ACME, uuid4(), NUMBER)

    assert (raised.value.code, raised.value.permanent) == ("unreadable", False)


def test_a_wrong_auth_token_is_a_permanent_error(twilio: ConnectedTwilio) -> None:
    adapter = twilio.new_adapter(type(ACCOUNT_LOGIN)(ACCOUNT_LOGIN.account_sid, f"{7:032x}"))

    with pytest.raises(TelephonyError) as raised:
        adapter.find_call_status(new_call_id())

    adapter.close()
    assert (raised.value.code, raised.value.permanent) == ("20003", True)


def test_an_unreachable_server_is_an_unambiguous_error() -> None:
    adapter = TwilioAdapter(
        (ACCOUNT_LOGIN,),
        TwilioUrls(CALLBACK, api_base_url="http://127.0.0.1:9"),
        state_signer=STATE_SIGNER,
    )

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    adapter.close()
    assert (raised.value.permanent, raised.value.ambiguous) == (False, False)


# --- Retries ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [FAILS, Fault(429), Fault(200, b"<html>"), Fault(200, is_truncated=True)]
)
def test_a_failed_read_is_retried(twilio: ConnectedTwilio, fault: Fault) -> None:
    call = new_call_id()
    twilio.account.set_call(call)
    twilio.server.inject_fault(fault)

    status = twilio.adapter.find_call_status(call)

    assert status is not None
    assert status.provider_call_id == call


def test_a_failed_idempotent_request_is_retried(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    twilio.account.set_call(call)
    recording = twilio.account.add_recording(call, b"RIFF")
    for fault in (FAILS, Fault(502, is_executed=True)):
        twilio.server.inject_fault(fault)
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)
        twilio.server.inject_fault(fault)
        twilio.adapter.delete_recording(call, recording)

    twilio.server.inject_fault(Fault(502, is_executed=True))
    twilio.adapter.hang_up(call)

    assert twilio.account.calls[call]["status"] == "completed"


def test_a_call_is_never_dialled_twice(twilio: ConnectedTwilio) -> None:
    for fault in (FAILS, Fault(502, is_executed=True), Fault(429)):
        twilio.server.inject_fault(fault)
        _place_failing_call(twilio)

    assert len(twilio.requests_to("POST", "Calls.json")) == 1


def test_a_placed_call_is_found_after_its_response_was_lost(twilio: ConnectedTwilio) -> None:
    request = outbound_call()
    twilio.server.inject_fault(Fault(502, is_executed=True))
    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.place_call(request)

    call_id = twilio.adapter.find_call(permits.query_for(request))

    assert raised.value.ambiguous
    assert call_id in twilio.account.calls


def test_an_update_of_a_live_call_is_not_retried(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    twilio.account.set_call(call)
    twilio.server.inject_fault(Fault(502, is_executed=True))

    with pytest.raises(TelephonyError):
        twilio.adapter.update_live_call(
            call, CallReply((Say("Hello."), HangUp())), callback_url=CALLBACK
        )

    assert len(twilio.account.call_updates) == 1


def test_a_rejected_request_is_not_retried(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(REJECTS)

    with pytest.raises(TelephonyError):
        twilio.adapter.find_call_status(new_call_id())

    assert twilio.account.requests == []


def test_a_long_retry_after_fails_at_once(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(Fault(429, headers={"retry-after": "60"}), times=2)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.find_call_status(new_call_id())

    assert raised.value.retry_after_s == 60
    assert len(twilio.server.faults) == 1


def test_a_silent_server_is_an_error_after_the_timeout(
    twilio: ConnectedTwilio,
) -> None:
    adapter = twilio.new_adapter(timeouts=SHORT_TIMEOUTS)
    twilio.server.inject_fault(SILENT, times=5)
    started_at = monotonic()

    with pytest.raises(TelephonyError) as raised:
        adapter.find_call_status(new_call_id())

    adapter.close()
    assert (raised.value.code, raised.value.ambiguous) == ("no-answer", True)
    assert monotonic() - started_at < SHORT_TIMEOUTS.total_s + 1


# --- Outbound and live calls -----------------------------------------------------------------


def test_an_outbound_call_has_callback_urls_with_its_token_and_reference(
    twilio: ConnectedTwilio,
) -> None:
    request = outbound_call(timeout_s=25)

    twilio.adapter.place_call(request)

    [form] = twilio.requests_to("POST", "Calls.json")
    reference = request.reference
    assert form == {
        "To": [CALLER],
        "From": [NUMBER],
        "Timeout": ["25"],
        "Url": [callback_url("voice", state=STATE)],
        "Method": ["POST"],
        "StatusCallback": [callback_url("status", reference=reference, state=STATE)],
        "StatusCallbackMethod": ["POST"],
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
    }


def test_a_look_up_with_several_candidates_is_an_error(twilio: ConnectedTwilio) -> None:
    first, second = outbound_call(), outbound_call()
    for request in (first, second):
        twilio.adapter.place_call(request)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.find_call(permits.query_for(first))

    assert (raised.value.code, raised.value.permanent) == ("not-certain", False)


@pytest.mark.parametrize(
    "fields",
    [
        {"number": "+14155550188"},
        {"from_number": "+14155550199"},
    ],
)
def test_a_call_between_other_numbers_does_not_match(
    twilio: ConnectedTwilio, fields: dict[str, Any]
) -> None:
    twilio.adapter.place_call(outbound_call(**fields))

    assert twilio.adapter.find_call(permits.query_for(outbound_call())) is None


def test_an_inbound_call_does_not_match_an_outbound_one(twilio: ConnectedTwilio) -> None:
    twilio.account.set_call(new_call_id(), **{"from": NUMBER, "to": CALLER})

    assert twilio.adapter.find_call(permits.query_for(outbound_call())) is None


@pytest.mark.parametrize(
    ("direction", "numbers"),
    [
        ("inbound", {"from": CALLER, "to": NUMBER}),
        ("inbound", {"from": CALLER, "to": f"sip:{NUMBER}@acme.sip.twilio.com"}),
        ("outbound-api", {"from": NUMBER, "to": CALLER}),
    ],
)
def test_the_target_of_a_transfer_sees_the_tenants_number(
    twilio: ConnectedTwilio, direction: str, numbers: dict[str, str]
) -> None:
    call = new_call_id()
    twilio.account.set_call(call, direction=direction, **numbers)

    twilio.adapter.update_live_call(
        call, CallReply((permits.transfer("+14155550177"),), STATE), callback_url=CALLBACK
    )

    [(_, form)] = twilio.account.call_updates
    assert f'callerId="{NUMBER}"' in form["Twiml"]
