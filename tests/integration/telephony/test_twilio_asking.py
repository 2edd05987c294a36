"""How Twilio is asked: time, repetitions, and what its refusals and failures mean."""

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
    ConnectedTwilio,
    connected_twilio,
)
from tests.fakes.carriers.twilio.server import FAILS, REJECTS, SILENT, Fault
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio import errors
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import RestTimeouts, TwilioUrls
from vca.telephony.types import CallReply, HangUp, Say, Transfer


@pytest.fixture
def twilio() -> Iterator[ConnectedTwilio]:
    with connected_twilio() as made:
        yield made


def _refusal(code: int, status: int = 400) -> Fault:
    said = f'{{"code": {code}, "message": "to {CALLER}", "more_info": "", "status": {status}}}'
    return Fault(status, said.encode())


def _place(twilio: ConnectedTwilio) -> TelephonyError:
    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.place_call(outbound_call())
    return raised.value


def test_nothing_is_waited_for_longer_than_the_contract_allows() -> None:
    assert RestTimeouts().total_s < 10


# --- Refusals and failures -------------------------------------------------------------------


@pytest.mark.parametrize("code", errors.CODE_NAMES)
def test_a_code_that_the_product_decides_by_has_a_name_of_ours(
    twilio: ConnectedTwilio, code: int
) -> None:
    twilio.server.inject_fault(_refusal(code))

    error = _place(twilio)

    assert (error.code, error.permanent, error.ambiguous) == (errors.CODE_NAMES[code], True, False)


@pytest.mark.parametrize("code", errors.TRANSIENT_CODES)
def test_a_code_that_passes_may_be_asked_again(twilio: ConnectedTwilio, code: int) -> None:
    twilio.server.inject_fault(_refusal(code))

    error = _place(twilio)

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
def test_any_other_code_is_told_as_it_is(
    twilio: ConnectedTwilio, status: int, code: int, permanent: bool, ambiguous: bool
) -> None:
    twilio.server.inject_fault(_refusal(code, status))

    error = _place(twilio)

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
def test_an_answer_that_is_not_twilios_is_a_failure(
    twilio: ConnectedTwilio, fault: Fault, code: str, permanent: bool, ambiguous: bool
) -> None:
    twilio.server.inject_fault(fault)

    error = _place(twilio)

    assert error.code == code
    assert (error.permanent, error.ambiguous) == (permanent, ambiguous)


def test_no_number_of_twilios_sentences_is_passed_on(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(_refusal(21211))

    assert CALLER not in str(_place(twilio))


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("7", 7), ("0", 0), ("99999", 3600), ("soon", None), ("-1", None), ("Sun, 22 Nov", None)],
)
def test_how_long_twilio_asks_us_to_wait_is_passed_on(
    twilio: ConnectedTwilio, header: str, wait_s: int | None
) -> None:
    twilio.server.inject_fault(Fault(429, _refusal(20429, 429).body, {"retry-after": header}))

    assert _place(twilio).retry_after_s == wait_s


def test_a_list_that_is_none_is_a_failure(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(Fault(200, b'{"page": 0}'), times=2)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.check_number(ACME, uuid4(), NUMBER)

    assert (raised.value.code, raised.value.permanent) == ("unreadable", False)


def test_a_wrong_token_is_no_reason_to_ask_again(twilio: ConnectedTwilio) -> None:
    stranger = twilio.new_adapter(type(ACCOUNT_LOGIN)(ACCOUNT_LOGIN.account_sid, f"{7:032x}"))

    with pytest.raises(TelephonyError) as raised:
        stranger.find_call_status(new_call_id())

    stranger.close()
    assert (raised.value.code, raised.value.permanent) == ("20003", True)


def test_twilio_that_cannot_be_reached_has_certainly_not_dialled() -> None:
    nobody = TwilioAdapter(
        (ACCOUNT_LOGIN,), TwilioUrls(CALLBACK, api_base_url="http://127.0.0.1:9")
    )

    with pytest.raises(TelephonyError) as raised:
        nobody.place_call(outbound_call())

    nobody.close()
    assert (raised.value.permanent, raised.value.ambiguous) == (False, False)


# --- Repetitions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [FAILS, Fault(429), Fault(200, b"<html>"), Fault(200, is_truncated=True)]
)
def test_what_is_read_is_asked_for_again(twilio: ConnectedTwilio, fault: Fault) -> None:
    call = new_call_id()
    twilio.account.set_call(call)
    twilio.server.inject_fault(fault)

    seen = twilio.adapter.find_call_status(call)

    assert seen is not None
    assert seen.provider_call_id == call


def test_what_may_be_done_twice_is_done_again(twilio: ConnectedTwilio) -> None:
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
        _place(twilio)

    assert len(twilio.requests_to("POST", "Calls.json")) == 1


def test_what_was_done_though_the_answer_was_lost_is_found(twilio: ConnectedTwilio) -> None:
    wanted = outbound_call()
    twilio.server.inject_fault(Fault(502, is_executed=True))
    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.place_call(wanted)

    found = twilio.adapter.find_call(wanted)

    assert raised.value.ambiguous
    assert found in twilio.account.calls


def test_a_live_call_is_told_a_thing_once(twilio: ConnectedTwilio) -> None:
    call = new_call_id()
    twilio.account.set_call(call)
    twilio.server.inject_fault(Fault(502, is_executed=True))

    with pytest.raises(TelephonyError):
        twilio.adapter.update_live_call(
            call, CallReply((Say("Hello."), HangUp())), callback_url=CALLBACK
        )

    assert len(twilio.account.call_updates) == 1


def test_what_is_refused_is_not_asked_again(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(REJECTS)

    with pytest.raises(TelephonyError):
        twilio.adapter.find_call_status(new_call_id())

    assert twilio.account.requests == []


def test_who_is_asked_to_wait_too_long_fails_at_once(twilio: ConnectedTwilio) -> None:
    twilio.server.inject_fault(Fault(429, headers={"retry-after": "60"}), times=2)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.find_call_status(new_call_id())

    assert raised.value.retry_after_s == 60
    assert len(twilio.server.faults) == 1


def test_silence_ends_when_the_time_is_over_and_leaves_nothing_hanging(
    twilio: ConnectedTwilio,
) -> None:
    impatient = twilio.new_adapter(timeouts=SHORT_TIMEOUTS)
    twilio.server.inject_fault(SILENT, times=5)
    began = monotonic()

    with pytest.raises(TelephonyError) as raised:
        impatient.find_call_status(new_call_id())

    impatient.close()
    assert (raised.value.code, raised.value.ambiguous) == ("no-answer", True)
    assert monotonic() - began < SHORT_TIMEOUTS.total_s + 1


# --- What is asked ---------------------------------------------------------------------------


def test_a_placed_call_comes_to_us_with_its_token_and_tells_all_that_becomes_of_it(
    twilio: ConnectedTwilio,
) -> None:
    wanted = outbound_call(timeout_s=25)

    twilio.adapter.place_call(wanted)

    [form] = twilio.requests_to("POST", "Calls.json")
    token = STATE.replace("=", "%3D")
    assert form == {
        "To": [CALLER],
        "From": [NUMBER],
        "Timeout": ["25"],
        "Url": [f"{CALLBACK}voice?state={token}"],
        "Method": ["POST"],
        "StatusCallback": [f"{CALLBACK}status?reference={wanted.reference}&state={token}"],
        "StatusCallbackMethod": ["POST"],
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
    }


def test_of_several_calls_that_may_be_the_one_none_is_taken_for_it(twilio: ConnectedTwilio) -> None:
    first, second = outbound_call(), outbound_call()
    for wanted in (first, second):
        twilio.adapter.place_call(wanted)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.find_call(first)

    assert (raised.value.code, raised.value.permanent) == ("not-certain", False)


@pytest.mark.parametrize(
    "other",
    [
        {"number": "+14155550188"},
        {"from_number": "+14155550199"},
    ],
)
def test_a_call_between_other_numbers_is_another(
    twilio: ConnectedTwilio, other: dict[str, Any]
) -> None:
    twilio.adapter.place_call(outbound_call(**other))

    assert twilio.adapter.find_call(outbound_call()) is None


def test_a_call_that_came_in_is_not_taken_for_one_of_ours(twilio: ConnectedTwilio) -> None:
    twilio.account.set_call(new_call_id(), **{"from": NUMBER, "to": CALLER})

    assert twilio.adapter.find_call(outbound_call()) is None


@pytest.mark.parametrize(
    ("direction", "numbers"),
    [
        ("inbound", {"from": CALLER, "to": NUMBER}),
        ("outbound-api", {"from": NUMBER, "to": CALLER}),
    ],
)
def test_whom_a_live_call_is_transferred_to_sees_our_number(
    twilio: ConnectedTwilio, direction: str, numbers: dict[str, str]
) -> None:
    call = new_call_id()
    twilio.account.set_call(call, direction=direction, **numbers)

    twilio.adapter.update_live_call(
        call, CallReply((Transfer("+14155550177"),), STATE), callback_url=CALLBACK
    )

    [(_, said)] = twilio.account.call_updates
    assert f'callerId="{NUMBER}"' in said["Twiml"]
