"""Tests of errors of Telnyx's API, of retries, and of what is logged."""

import logging
import socket

import pytest

from tests.contract.suites.telephony import ACME, outbound_call
from tests.fakes.carriers.telnyx.accounts import NUMBER, create_adapter, leg_event
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.carrier_client import command_names, spoken_texts
from tests.fakes.carriers.telnyx.server import Fault, TelnyxServer
from tests.integration.telephony.telnyx_api.conftest import REPLY, SIGNER, handle_event
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import CallReply, Listen, Say

# --- Errors ---


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


# --- Retries ---


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
