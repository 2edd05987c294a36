"""Tests of requests to Telnyx: errors, retries, ended calls, status look-up and WebRTC."""

import logging
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.suites.telephony import ACME, CALLBACK, CALLER, outbound_call
from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import NUMBER, create_adapter, leg_event, new_account
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID, Leg
from tests.fakes.carriers.telnyx.carrier_client import command_names, spoken_texts
from tests.fakes.carriers.telnyx.server import API_KEY, Fault, TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import (
    Account,
    Action,
    CallReply,
    HangUp,
    Listen,
    Reject,
    Say,
    SendKeys,
    Transfer,
)

SIGNER = Signer()
REPLY = CallReply((Say("Hello."), Listen()), "token")


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


@pytest.fixture
def telnyx(server: TelnyxServer) -> Iterator[TelnyxServer]:
    with new_account(server):
        yield server


@pytest.fixture
def adapter(telnyx: TelnyxServer) -> TelnyxAdapter:
    return create_adapter(telnyx, SIGNER)


@pytest.fixture
def leg(telnyx: TelnyxServer) -> Leg:
    """Start an inbound call and mark it as answered."""
    leg = telnyx.account.switch.ring("v3:live", to=NUMBER, from_=CALLER)
    leg.answered = True
    return leg


def handle_event(
    adapter: TelnyxAdapter,
    leg: Leg,
    reply: CallReply,
    event: dict[str, Any] | None = None,
) -> None:
    """Let the adapter handle an event of the call, `call.answered` by default, with this reply."""
    event = event or leg_event(
        "call.answered", call_id=leg.id, mark=LegState("ring", "token", leg.id)
    )
    carrier_event = adapter.parse(SIGNER.request(event))
    response = adapter.handle(carrier_event, reply, callback_url=CALLBACK)
    assert (response.status, response.body) == (200, b"")


# --- Errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "times", "permanent", "code", "ambiguous"),
    [
        ("refuses", 1, True, "10015", False),
        ("fails", 2, False, "10007", True),
        ("is busy", 1, False, "10011", False),
    ],
)
def test_an_error_has_telnyxs_code_and_says_whether_a_retry_is_useful(
    telnyx: TelnyxServer,
    adapter: TelnyxAdapter,
    fault: Fault,
    times: int,
    permanent: bool,
    code: str,
    ambiguous: bool,
) -> None:
    telnyx.inject_fault(fault, times)

    with pytest.raises(TelephonyError) as raised:
        adapter.hang_up("v3:live")

    error = raised.value
    assert (error.permanent, error.code, error.ambiguous) == (permanent, code, ambiguous)
    assert error.retry_after_s == (7 if fault == "is busy" else None)


def test_a_wrong_api_key_is_a_permanent_error(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_api_key="KEY-of-somebody-else")

    with pytest.raises(TelephonyError) as raised:
        adapter.register_number(ACME, ACME, NUMBER)

    assert (raised.value.permanent, raised.value.code) == (True, "10009")


def test_an_unreachable_server_is_an_unambiguous_error(telnyx: TelnyxServer) -> None:
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused_socket.getsockname()[1]}"
        adapter = create_adapter(telnyx, SIGNER, telnyx_api_base_url=url)

        with pytest.raises(TelephonyError) as raised:
            adapter.place_call(outbound_call())

    assert (raised.value.permanent, raised.value.ambiguous) == (False, False)


def test_keys_in_environment_variables_are_ignored(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "PUBLIC_KEY", "CLIENT_ID", "CLIENT_SECRET", "BASE_URL"):
        monkeypatch.setenv(f"TELNYX_{name}", "of-the-environment")

    adapter.hang_up(leg.id)

    assert not leg.alive


def test_an_error_message_contains_no_number(telnyx: TelnyxServer, adapter: TelnyxAdapter) -> None:
    telnyx.inject_fault("refuses")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert str(raised.value) == "Telnyx returned 422: It refuses"


def test_requests_are_not_logged(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    telnyx.account.switch.recordings["RE1"] = (leg.id, b"RIFF")

    with caplog.at_level(logging.DEBUG):
        adapter.unregister_number(ACME, ACME, NUMBER)
        handle_event(adapter, leg, CallReply((Say("My PIN is 1234."), Listen()), "token"))
        adapter.fetch_recording(leg.id)

    for sensitive_text in (NUMBER[1:], "1234", "store/RE1"):
        assert sensitive_text not in caplog.text


# --- Retries ------------------------------------------------------------------------------------


def test_a_failed_command_is_retried_and_executed_once(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.inject_fault("fails")

    handle_event(adapter, leg, REPLY)

    assert command_names(leg) == ["start_transcription", "gather_using_speak"]


def test_a_repeated_command_is_executed_once(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    event = leg_event("call.answered", call_id=leg.id, mark=LegState("ring", "token", leg.id))

    for _ in range(2):
        handle_event(adapter, leg, REPLY, event)

    assert spoken_texts(leg) == ["Hello."]
    assert leg.ignored_count == 2


def test_a_failed_outbound_call_is_not_retried(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    telnyx.inject_fault("fails")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert raised.value.ambiguous
    assert telnyx.pending_faults == []
    assert telnyx.account.switch.dialled == {}


# --- Commands to live and ended calls -----------------------------------------------------------


@pytest.mark.parametrize(
    "actions", [(Say("Hello."), Listen()), (Transfer(CALLER),), (HangUp(),), (SendKeys("1"),)]
)
def test_a_reply_to_an_ended_call_succeeds(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg, actions: tuple[Action, ...]
) -> None:
    telnyx.account.switch.end_leg(leg)

    handle_event(adapter, leg, CallReply(actions, "token"))

    assert command_names(leg) == []


def test_updating_an_ended_call_is_a_permanent_error(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.account.switch.end_leg(leg)

    with pytest.raises(TelephonyError) as raised:
        adapter.update_live_call(leg.id, REPLY, callback_url=CALLBACK)

    assert (raised.value.permanent, raised.value.code) == (True, "90018")


@pytest.mark.parametrize(
    ("actions", "command"),
    [
        ((Reject(),), "reject"),
        ((Reject("busy"),), "reject"),
        ((HangUp(),), "hangup"),
        ((Say("Hello."), HangUp()), "answer"),
        ((Transfer(CALLER),), "answer"),
    ],
)
def test_an_inbound_call_is_answered_rejected_or_hung_up_first(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, actions: tuple[Action, ...], command: str
) -> None:
    switch = telnyx.account.switch
    leg = switch.ring("v3:rings", to=NUMBER, from_=CALLER)
    carrier_event = adapter.parse(SIGNER.request(switch.pending[0]))

    adapter.handle(carrier_event, CallReply(actions, "token"), callback_url=CALLBACK)

    assert command_names(leg) == [command]


def test_an_event_without_consequences_sends_no_request(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    event = leg_event("call.bridged", call_id=leg.id, mark=LegState("listening", "token", leg.id))

    handle_event(adapter, leg, CallReply(()), event)

    assert telnyx.requests == []


def test_updating_a_live_call_stops_the_current_playback(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    handle_event(adapter, leg, REPLY)

    adapter.update_live_call(
        leg.id, CallReply((Say("A word."), Listen()), "t"), callback_url=CALLBACK
    )
    adapter.update_live_call(
        leg.id, CallReply((Say("Goodbye."), HangUp()), "t"), callback_url=CALLBACK
    )
    adapter.update_live_call(leg.id, CallReply((Say("And more."),), "t"), callback_url=CALLBACK)

    assert command_names(leg)[2:] == [
        *("stop_gather", "gather_using_speak"),
        *("stop_gather", "speak"),
        *("stop_playback", "speak"),
    ]


def test_a_stop_command_without_playback_is_no_error(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    event = leg_event(
        "call.transcription",
        call_id=leg.id,
        mark=LegState("listening", "t", leg.id),
        transcription_data={"transcript": "Hello?", "is_final": True},
    )

    handle_event(adapter, leg, REPLY, event)

    assert command_names(leg) == ["gather_using_speak"]


def test_a_running_transcription_is_not_started_again(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    leg.transcribing = True

    handle_event(adapter, leg, REPLY)

    assert command_names(leg) == ["gather_using_speak"]


# --- Status look-up -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("normal_clearing", ("ENDED", "caller_hangup", "normal_clearing")),
        ("user_busy", ("FAILED", "busy", "user_busy")),
    ],
)
def test_a_missed_end_is_found_with_its_cause_and_event_key(
    telnyx: TelnyxServer,
    adapter: TelnyxAdapter,
    leg: Leg,
    cause: str,
    expected: tuple[str, str, str],
) -> None:
    telnyx.account.switch.end_leg(leg, cause)

    status = adapter.find_call_status(leg.id)

    assert status is not None
    assert status.event is not None
    event = status.event
    assert (event.event_type, event.end_reason, event.end_detail) == expected
    missed_event = adapter.parse(SIGNER.request(telnyx.account.switch.pending[-1]))
    assert missed_event.event is not None
    assert missed_event.event.key == event.key


def test_an_end_without_an_event_at_telnyx_is_reported_as_lost(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.account.switch.end_leg(leg)
    telnyx.account.switch.events.clear()

    status = adapter.find_call_status(leg.id)

    assert status is not None
    assert status.event is not None
    assert (status.event.event_type, status.event.end_reason) == ("FAILED", "lost")


def test_a_call_that_is_being_dialled_has_no_end_event(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    call = adapter.place_call(outbound_call())
    telnyx.account.switch.legs[call].alive = False  # Telnyx reports this until the call rings

    status = adapter.find_call_status(call)

    assert status is not None
    assert status.event is None


def test_an_ended_outbound_call_is_found_in_the_event_log(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    request = outbound_call()
    call = adapter.place_call(request)
    leg = telnyx.account.switch.legs[call]
    leg.client_state = LegState("listening", "token", call).encode()
    telnyx.account.switch.end_leg(leg)

    assert adapter.find_call(request) == call


@pytest.mark.parametrize("code", ["10002", "10016"])
def test_an_invalid_number_has_the_error_code_of_the_contract(
    telnyx: TelnyxServer,
    adapter: TelnyxAdapter,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.fakes.carriers.telnyx.server._ERRORS", {"refuses": (422, code)})
    telnyx.inject_fault("refuses")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert (raised.value.permanent, raised.value.code) == (True, "invalid-number")


# --- WebRTC -------------------------------------------------------------------------------------


def test_a_webrtc_credential_is_new_and_expires(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_credential_connection_id="777")

    credential = adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [created] = telnyx.account.credentials.values()
    assert credential.token == f"ey.token-of.{created['id']}"
    assert credential.identity == created["sip_username"]
    assert (created["connection_id"], created["name"]) == ("777", "jane")
    assert created["expires_at"] == credential.expires_at.isoformat()
    assert timedelta() < credential.expires_at - clock.now() <= timedelta(seconds=600)


def test_without_a_credential_connection_webrtc_is_a_permanent_error(
    adapter: TelnyxAdapter,
) -> None:
    with pytest.raises(TelephonyError) as raised:
        adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")


def test_a_tenant_account_uses_its_own_credential_connection(telnyx: TelnyxServer) -> None:
    fields = {"api_key": API_KEY, "public_key": SIGNER.public_key, "connection_id": "1"}
    settings = accounts.telnyx_settings(telnyx, SIGNER)
    adapter = TelnyxAdapter.from_account(
        settings, Account({**fields, "credential_connection_id": "888"})
    )
    adapter_without_connection = TelnyxAdapter.from_account(settings, Account(fields))

    adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [created] = telnyx.account.credentials.values()
    assert created["connection_id"] == "888"
    with pytest.raises(TelephonyError, match="no credential connection"):
        adapter_without_connection.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)


def test_without_an_application_outbound_calls_are_a_permanent_error(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_connection_id="")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert "flask telnyx setup" in str(raised.value)


def test_an_outbound_call_uses_the_configured_application(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.place_call(outbound_call())

    assert telnyx.requests[-1].body["connection_id"] == CONNECTION_ID
