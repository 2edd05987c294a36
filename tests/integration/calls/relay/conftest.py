"""Fixtures and helpers for calls of Twilio over a voice WebSocket."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import CarrierWebSocket, run_relay
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import ConnectedTwilio, connected_twilio
from tests.fakes.carriers.twilio.relay_session import TwilioRelaySession
from tests.fakes.carriers.twilio.twiml import TwimlDocument
from tests.fakes.models import SequenceModel
from tests.support import admin_db
from tests.support.api import Api
from tests.support.factories import Tenant, fresh_number
from tests.support.processes import wait_until
from tests.support.services import use_carriers, use_settings
from vca.servers.relay import conversation, draining
from vca.settings import Settings
from vca.telephony import providers

ScriptModel = Callable[..., SequenceModel]
SLOT_COUNT = 2


@pytest.fixture(autouse=True)
def fast_speech(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the server assume fast speech, so that tests do not wait for it; end a draining."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)
    yield
    draining.PROCESS_DRAIN.stop()


@pytest.fixture(autouse=True)
def relay_url(app: Flask) -> Iterator[str]:
    """Run the voice WebSocket server and return its URL."""
    with run_relay() as url:
        yield url
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    """Install Twilio as the deployment's carrier, with SLOT_COUNT slots, and return it."""
    use_settings(relay_slots=SLOT_COUNT)
    with connected_twilio() as twilio:
        use_carriers(providers.Carriers(settings)).register(twilio.adapter)
        yield twilio


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio) -> str:
    """Return a Twilio number of acme that an agent answers."""
    acme.profile(
        greeting="Acme here.",
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": fresh_number(), "description": "buys"}},
        end_phrases=["goodbye"],
    )
    return str(acme.number(provider_type="twilio")["did_number"])


@pytest.fixture
def call(anonymous: Api, number: str) -> TwilioCall:
    """Return a call to the number that has not rung yet."""
    return TwilioCall(anonymous, number)


def open_socket(
    url: str, call: TwilioCall, document: TwimlDocument | None = None
) -> CarrierWebSocket:
    """Open the WebSocket that the document requests; without one, ring first."""
    twiml = document or call.ring()
    socket = open_twilio_socket(url, twiml.find("ConversationRelay"), call.sid)
    wait_until(lambda: count_slots(only_open=True))
    return socket


def open_session(url: str, call: TwilioCall) -> TwilioRelaySession:
    """Ring, and open a session that connects again after an unexpected end of its connection."""
    session = TwilioRelaySession(lambda: url, call.ring().find("ConversationRelay"), call.sid)
    wait_until(lambda: count_slots(only_open=True))
    return session


def count_slots(*, only_open: bool = False) -> int:
    """Return the number of leased slots, or of those whose WebSocket is open."""
    query = text("SELECT count(*) FROM public.relay_slots WHERE opened OR NOT :only_open")
    with admin_db.public_session() as session:
        return int(session.scalar(query, {"only_open": only_open}) or 0)
