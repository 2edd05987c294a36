"""How Telnyx is asked: by its own SDK, in time, twice at most; and what its errors mean."""

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
    """A call that was answered."""
    leg = telnyx.account.switch.ring("v3:live", to=NUMBER, from_=CALLER)
    leg.answered = True
    return leg


def answer(adapter: TelnyxAdapter, leg: Leg, reply: CallReply, told: Any = None) -> None:
    """Let the call's ring, once answered, be answered so."""
    told = told or leg_event(
        "call.answered", call_id=leg.id, mark=LegState("ring", "token", leg.id)
    )
    facts = adapter.parse(SIGNER.request(told))
    response = adapter.handle(facts, reply, callback_url=CALLBACK)
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
def test_an_error_says_whether_to_ask_again_and_bears_telnyxs_code(
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


def test_a_wrong_key_is_for_good(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_api_key="KEY-of-somebody-else")

    with pytest.raises(TelephonyError) as raised:
        adapter.register_number(ACME, ACME, NUMBER)

    assert (raised.value.permanent, raised.value.code) == (True, "10009")


def test_who_is_not_there_was_certainly_not_asked(telnyx: TelnyxServer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        adapter = create_adapter(telnyx, SIGNER, telnyx_api_base_url=url)

        with pytest.raises(TelephonyError) as raised:
            adapter.place_call(outbound_call())

    assert (raised.value.permanent, raised.value.ambiguous) == (False, False)


def test_the_keys_are_not_taken_from_the_environment(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "PUBLIC_KEY", "CLIENT_ID", "CLIENT_SECRET", "BASE_URL"):
        monkeypatch.setenv(f"TELNYX_{name}", "of-the-environment")

    adapter.hang_up(leg.id)

    assert not leg.alive


def test_an_errors_words_hold_no_number(telnyx: TelnyxServer, adapter: TelnyxAdapter) -> None:
    telnyx.inject_fault("refuses")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert str(raised.value) == "Telnyx returned 422: It refuses"


def test_what_is_asked_is_not_logged(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    telnyx.account.switch.recordings["RE1"] = (leg.id, b"RIFF")

    with caplog.at_level(logging.DEBUG):
        adapter.unregister_number(ACME, ACME, NUMBER)
        answer(adapter, leg, CallReply((Say("My PIN is 1234."), Listen()), "token"))
        adapter.fetch_recording(leg.id)

    for kept_back in (NUMBER[1:], "1234", "store/RE1"):
        assert kept_back not in caplog.text


# --- Patience -----------------------------------------------------------------------------------


def test_a_command_that_failed_is_given_once_more_and_done_once(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.inject_fault("fails")

    answer(adapter, leg, REPLY)

    assert command_names(leg) == ["start_transcription", "gather_using_speak"]


def test_a_command_whose_answer_was_lost_is_not_done_twice(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    told = leg_event("call.answered", call_id=leg.id, mark=LegState("ring", "token", leg.id))

    for _ in range(2):
        answer(adapter, leg, REPLY, told)

    assert spoken_texts(leg) == ["Hello."]
    assert leg.ignored_count == 2


def test_a_call_is_dialled_once_though_telnyx_fails(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    telnyx.inject_fault("fails")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert raised.value.ambiguous
    assert telnyx.pending_faults == []
    assert telnyx.account.switch.dialled == {}


# --- Calls that are over ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "actions", [(Say("Hello."), Listen()), (Transfer(CALLER),), (HangUp(),), (SendKeys("1"),)]
)
def test_an_answer_to_a_call_that_is_over_is_a_success(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg, actions: tuple[Action, ...]
) -> None:
    telnyx.account.switch.end_leg(leg)

    answer(adapter, leg, CallReply(actions, "token"))

    assert command_names(leg) == []


def test_a_call_that_ends_between_two_commands_is_over_for_who_directs_it(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.account.switch.end_leg(leg)

    with pytest.raises(TelephonyError) as raised:
        adapter.update_live_call(leg.id, REPLY, callback_url=CALLBACK)

    assert (raised.value.permanent, raised.value.code) == (True, "90018")


@pytest.mark.parametrize(
    ("actions", "given"),
    [
        ((Reject(),), "reject"),
        ((Reject("busy"),), "reject"),
        ((HangUp(),), "hangup"),
        ((Say("Hello."), HangUp()), "answer"),
        ((Transfer(CALLER),), "answer"),
    ],
)
def test_a_ring_is_answered_or_refused_and_nothing_else(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, actions: tuple[Action, ...], given: str
) -> None:
    switch = telnyx.account.switch
    leg = switch.ring("v3:rings", to=NUMBER, from_=CALLER)
    facts = adapter.parse(SIGNER.request(switch.pending[0]))

    adapter.handle(facts, CallReply(actions, "token"), callback_url=CALLBACK)

    assert command_names(leg) == [given]


def test_facts_that_nothing_follows_from_ask_telnyx_nothing(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    told = leg_event("call.bridged", call_id=leg.id, mark=LegState("listening", "token", leg.id))

    answer(adapter, leg, CallReply(()), told)

    assert telnyx.requests == []


def test_directing_stops_what_the_caller_hears(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    answer(adapter, leg, REPLY)

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


def test_nothing_to_stop_is_no_fault(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    said = {"transcription_data": {"transcript": "Hello?", "is_final": True}}
    told = leg_event(
        "call.transcription", call_id=leg.id, mark=LegState("listening", "t", leg.id), **said
    )

    answer(adapter, leg, REPLY, told)

    assert command_names(leg) == ["gather_using_speak"]


def test_listening_that_has_begun_is_no_fault(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    leg.transcribing = True

    answer(adapter, leg, REPLY)

    assert command_names(leg) == ["gather_using_speak"]


# --- Looking up ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "found"),
    [
        ("normal_clearing", ("ENDED", "caller_hangup", "normal_clearing")),
        ("user_busy", ("FAILED", "busy", "user_busy")),
    ],
)
def test_an_end_that_was_missed_is_found_with_its_cause_and_the_key_it_would_have_had(
    telnyx: TelnyxServer,
    adapter: TelnyxAdapter,
    leg: Leg,
    cause: str,
    found: tuple[str, str, str],
) -> None:
    telnyx.account.switch.end_leg(leg, cause)

    seen = adapter.find_call_status(leg.id)

    assert seen is not None
    assert seen.event is not None
    event = seen.event
    assert (event.event_type, event.end_reason, event.end_detail) == found
    missed = adapter.parse(SIGNER.request(telnyx.account.switch.pending[-1]))
    assert missed.event is not None
    assert missed.event.key == event.key


def test_an_end_of_which_telnyx_tells_no_more_is_lost(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.account.switch.end_leg(leg)
    telnyx.account.switch.events.clear()

    seen = adapter.find_call_status(leg.id)

    assert seen is not None
    assert seen.event is not None
    assert (seen.event.event_type, seen.event.end_reason) == ("FAILED", "lost")


def test_a_call_that_is_being_dialled_is_not_over(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    call = adapter.place_call(outbound_call())
    telnyx.account.switch.legs[call].alive = False  # as Telnyx shows it until it rings

    seen = adapter.find_call_status(call)

    assert seen is not None
    assert seen.event is None


def test_a_placed_call_that_has_gone_on_and_ended_is_found_in_the_log(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    wanted = outbound_call()
    call = adapter.place_call(wanted)
    leg = telnyx.account.switch.legs[call]
    leg.client_state = LegState("listening", "token", call).encode()
    telnyx.account.switch.end_leg(leg)

    assert adapter.find_call(wanted) == call


@pytest.mark.parametrize("code", ["10002", "10016"])
def test_a_number_that_is_none_is_said_in_the_contracts_word(
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


# --- Browsers -----------------------------------------------------------------------------------


def test_a_browser_gets_a_credential_of_its_own_that_ends(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_credential_connection_id="777")

    credential = adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [made] = telnyx.account.credentials.values()
    assert credential.token == f"ey.token-of.{made['id']}"
    assert credential.identity == made["sip_username"]
    assert (made["connection_id"], made["name"]) == ("777", "jane")
    assert made["expires_at"] == credential.expires_at.isoformat()
    assert timedelta() < credential.expires_at - clock.now() <= timedelta(seconds=600)


def test_without_a_credential_connection_no_browser_calls(adapter: TelnyxAdapter) -> None:
    with pytest.raises(TelephonyError) as raised:
        adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")


def test_browsers_call_through_a_tenants_own_connection(telnyx: TelnyxServer) -> None:
    fields = {"api_key": API_KEY, "public_key": SIGNER.public_key, "connection_id": "1"}
    settings = accounts.telnyx_settings(telnyx, SIGNER)
    own = TelnyxAdapter.from_account(
        settings, Account({**fields, "credential_connection_id": "888"})
    )
    without = TelnyxAdapter.from_account(settings, Account(fields))

    own.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [made] = telnyx.account.credentials.values()
    assert made["connection_id"] == "888"
    with pytest.raises(TelephonyError, match="no credential connection"):
        without.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)


def test_without_an_application_nothing_is_dialled(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_connection_id="")

    with pytest.raises(TelephonyError) as raised:
        adapter.place_call(outbound_call())

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert "flask telnyx setup" in str(raised.value)


def test_the_application_that_dials_is_the_configured_one(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.place_call(outbound_call())

    assert telnyx.requests[-1].body["connection_id"] == CONNECTION_ID
