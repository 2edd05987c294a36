"""Calls over Telnyx's voice WebSockets: the commands before and after them."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_telnyx_socket
from tests.fakes.carriers.carrier_websocket import run_relay
from tests.fakes.carriers.telnyx.accounts import BASE_URL, create_adapter, new_account
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient, command_names
from tests.fakes.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from tests.integration.calls.conftest import CallRecord
from tests.support import admin_db
from tests.support.api import Api
from tests.support.factories import Tenant
from tests.support.services import app_services, use_carriers, use_settings
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.types import CallReply, Listen, Say

SIGNER = Signer()


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    """Return a running fake of Telnyx's API."""
    with telnyx_server() as server:
        yield server


@pytest.fixture
def carrier_client(
    settings: Settings, server: TelnyxServer, anonymous: Api
) -> Iterator[TelnyxCarrierClient]:
    """Install a Telnyx account as the deployment's carrier; return a client for its events."""
    use_settings(public_base_url=BASE_URL, relay_slots=3)
    use_carriers(providers.Carriers(settings)).register(create_adapter(server, SIGNER))
    with new_account(server):
        yield TelnyxCarrierClient(server, SIGNER, anonymous)
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


def test_the_websocket_starts_after_the_answer_and_the_consent_sentence(
    carrier_client: TelnyxCarrierClient, acme: Tenant
) -> None:
    acme.profile(greeting="Grüß Gott.", language="de-AT", recording=True)

    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])

    assert command_names(leg) == ["answer", "speak", "start_recording", "start_conversation_relay"]
    assert leg.relay is not None
    assert leg.relay["url"].startswith("wss://voice.example.com/vca/telephony/telnyx/relay/")
    assert (leg.relay["greeting"], leg.relay["language"]) == ("Grüß Gott.", "de-AT")
    assert leg.relay["voice"] == "AWS.Polly.Hannah-Neural"


def test_an_update_of_a_live_call_stops_the_websocket_first(
    carrier_client: TelnyxCarrierClient, acme: Tenant
) -> None:
    acme.profile(greeting="Acme here.")
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])
    adapter = app_services().carriers.adapter("telnyx")
    assert adapter is not None

    reply = CallReply((Say("Your table is ready."), Listen()))
    adapter.update_live_call(leg.id, reply, callback_url=f"{BASE_URL}/telephony/telnyx/")
    carrier_client.deliver_events()

    assert command_names(leg)[-2:] == ["stop_conversation_relay", "gather_using_speak"]


def test_after_a_lost_websocket_the_call_continues_with_events(
    carrier_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    acme.profile(greeting="Acme here.")
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])

    carrier_client.switch.end_relay(leg, "customer_disconnect")
    carrier_client.deliver_events()

    assert command_names(leg)[-2:] == ["start_transcription", "gather_using_speak"]
    carrier_client.say(leg, "Are you open?")
    assert call_record.transcript[1] == "caller: Are you open?"


def test_a_hang_up_during_an_open_websocket_ends_the_call(
    carrier_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    acme.profile(greeting="Acme here.")
    with run_relay() as relay_url:
        leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])
        socket = open_telnyx_socket(relay_url, leg)
        assert socket.say("Are you open?")
        socket.close()
        carrier_client.switch.end_relay(leg, "call_hangup")
        carrier_client.hang_up(leg)

    assert call_record.end_state == ("completed", "caller_hangup")
