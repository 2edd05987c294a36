"""Calls through Telnyx's sockets: what is ordered around them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from tests.carriers.players import telnyx_socket
from tests.carriers.sockets import serving
from tests.carriers.telnyx.accounts import BASE_URL, adapter_of, fresh
from tests.carriers.telnyx.line import TelnyxLine, ordered
from tests.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.carriers.telnyx.signing import Signer
from tests.flows.conftest import Record
from tests.support import owner
from tests.support.api import Api
from tests.support.world import Tenant
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.types import CallReply, Listen, Say
from vca.tenant.calls.core import call_services

SIGNER = Signer()


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


@pytest.fixture
def line(settings: Settings, server: TelnyxServer, anonymous: Api) -> Iterator[TelnyxLine]:
    call_services.set_current_services(
        replace(call_services.current_services(), public_base_url=BASE_URL, relay_slots=3)
    )
    providers.set_current_carriers(providers.Carriers(settings)).register(
        adapter_of(server, SIGNER)
    )
    with fresh(server):
        yield TelnyxLine(server, SIGNER, anonymous)
    with owner.public() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


def test_a_socket_is_begun_once_the_call_was_answered_and_consent_was_said(
    line: TelnyxLine, acme: Tenant
) -> None:
    acme.profile(greeting="Grüß Gott.", language="de-AT", recording=True)

    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])

    assert ordered(leg) == ["answer", "speak", "start_recording", "start_conversation_relay"]
    assert leg.relay is not None
    assert leg.relay["url"] == "wss://voice.example.com/vca/telephony/telnyx/relay"
    assert (leg.relay["greeting"], leg.relay["language"]) == ("Grüß Gott.", "de-AT")
    assert leg.relay["voice"] == "AWS.Polly.Hannah-Neural"


def test_an_order_from_outside_ends_the_socket_first_and_nothing_follows_it(
    line: TelnyxLine, acme: Tenant
) -> None:
    acme.profile(greeting="Acme here.")
    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])
    adapter = providers.current_carriers().adapter("telnyx")
    assert adapter is not None

    reply = CallReply((Say("Your table is ready."), Listen()))
    adapter.update_live_call(leg.id, reply, callback_url=f"{BASE_URL}/telephony/telnyx/")
    line.pump()

    assert ordered(leg)[-2:] == ["stop_conversation_relay", "gather_using_speak"]


def test_a_socket_that_broke_is_followed_by_listening_over_events(
    line: TelnyxLine, acme: Tenant, record: Record
) -> None:
    acme.profile(greeting="Acme here.")
    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])

    line.switch.relay_ends(leg, "customer_disconnect")
    line.pump()

    assert ordered(leg)[-2:] == ["start_transcription", "gather_using_speak"]
    line.say(leg, "Are you open?")
    assert record.said[1] == "caller: Are you open?"


def test_a_call_that_hangs_up_while_its_socket_is_open_is_over(
    line: TelnyxLine, acme: Tenant, record: Record
) -> None:
    acme.profile(greeting="Acme here.")
    with serving() as at:
        leg = line.ring(acme.number(provider_type="telnyx")["did_number"])
        socket = telnyx_socket(at, leg)
        assert socket.say("Are you open?")
        socket.close()
        line.switch.relay_ends(leg, "call_hangup")
        line.put_down(leg)

    assert record.end == ("completed", "caller_hangup")
