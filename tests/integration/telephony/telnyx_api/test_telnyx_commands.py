"""Tests of commands to live and ended calls, and of outbound calls."""

from dataclasses import replace

import pytest

from tests.contract.suites.telephony import CALLBACK, CALLER, outbound_call
from tests.fakes.carriers.telnyx.accounts import NUMBER, create_adapter, leg_event
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID, Leg
from tests.fakes.carriers.telnyx.carrier_client import command_names
from tests.fakes.carriers.telnyx.server import TelnyxServer
from tests.integration.telephony.telnyx_api.conftest import REPLY, SIGNER, handle_event
from tests.support import permits
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import Action, CallReply, HangUp, Listen, Reject, Say, SendKeys


@pytest.mark.parametrize(
    "actions",
    [(Say("Hello."), Listen()), (permits.transfer(CALLER),), (HangUp(),), (SendKeys("1"),)],
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
        ((permits.transfer(CALLER),), "answer"),
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


def test_a_deferred_transfer_without_a_permission_is_not_sent(
    adapter: TelnyxAdapter, leg: Leg
) -> None:
    rest = ({"command": "transfer", "to": CALLER},)
    mark = LegState("then", "token", leg.id, rest=rest, after="transfer")
    event = leg_event("call.speak.ended", call_id=leg.id, mark=mark, status="completed")
    carrier_event = adapter.parse(SIGNER.request(event))
    assert carrier_event.kind == "due"

    with pytest.raises(TelephonyError) as error_info:
        adapter.handle(
            replace(carrier_event, kind="progress"), CallReply(()), callback_url=CALLBACK
        )

    assert (error_info.value.permanent, error_info.value.code) == (True, "not-permitted")
    assert leg.commands == []
