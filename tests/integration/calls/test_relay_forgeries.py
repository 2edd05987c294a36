"""Sockets that are of no call of ours: closed, and nothing is written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import CarrierWebSocket, handshake_is_refused, run_relay
from tests.fakes.carriers.telnyx.accounts import create_adapter, new_account
from tests.fakes.carriers.telnyx.server import telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    OTHER_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from tests.fakes.carriers.twilio.webhooks import socket_signature
from tests.support import admin_db
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from vca.kit import crypto
from vca.servers.relay import route
from vca.settings import Settings
from vca.telephony import providers
from vca.tenant.calls.core import call_services

URL = "/telephony/twilio/relay"
REFUSED = 1008
HEADER = "X-Twilio-Signature"


@dataclass
class TwoCalls:
    """A call of acme's that may open a socket, one of globex's, and what is on record."""

    at: str
    call: TwilioCall
    token: str
    theirs: TwilioCall
    their_token: str

    def headers(self) -> dict[str, str]:
        return {HEADER: socket_signature(ACCOUNT_LOGIN, URL)}

    def setup(self, **changed: Any) -> Mapping[str, Any]:
        said = {"callSid": self.call.sid, "customParameters": {"token": self.token}}
        return {**said, **changed}

    def open(self, path: str = "twilio/relay", **changed: Any) -> CarrierWebSocket:
        url, setup = f"{self.at}{path}", self.setup(**changed)
        return CarrierWebSocket(url, setup=setup, headers=self.headers())


@pytest.fixture
def relay_url(app: Flask) -> Iterator[str]:
    with run_relay() as url:
        yield url
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=9))
    with connected_twilio() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made


@pytest.fixture
def two_calls(
    relay_url: str, twilio: ConnectedTwilio, anonymous: Api, acme: Tenant, globex: Tenant
) -> TwoCalls:
    calls = [_call(anonymous, tenant) for tenant in (acme, globex)]
    (call, token), (theirs, their_token) = calls
    return TwoCalls(relay_url, call, token, theirs, their_token)


def _call(api: Api, tenant: Tenant) -> tuple[TwilioCall, str]:
    tenant.profile(greeting="Hello.")
    call = TwilioCall(api, tenant.number(provider_type="twilio")["did_number"])
    return call, call.ring().find("Parameter").get("value") or ""


@pytest.fixture
def untouched(
    two_calls: TwoCalls, acme: Tenant, globex: Tenant, database_url: str
) -> Iterator[None]:
    """Nothing is written, and no slot opened, in the course of the test."""
    witness = SnapshotChecker(database_url)
    slots = "SELECT * FROM public.relay_slots ORDER BY id"
    before = [witness.checksum(tenant.id) for tenant in (acme, globex)], witness.rows(slots)
    yield
    after = [witness.checksum(tenant.id) for tenant in (acme, globex)], witness.rows(slots)
    witness.close()
    assert after == before


# --- The handshake -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER: ""},
        {HEADER: "x" * 200},
        {HEADER: "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {HEADER: socket_signature(OTHER_LOGIN, URL)},
        {HEADER: socket_signature(ACCOUNT_LOGIN, "/telephony/twilio/turn")},
        {
            HEADER: socket_signature(
                ACCOUNT_LOGIN, "wss://elsewhere.example.com/telephony/twilio/relay"
            )
        },
    ],
    ids=["none", "empty", "long", "garbage", "another account", "another URL", "another host"],
)
@pytest.mark.usefixtures("untouched")
def test_a_handshake_that_the_carrier_has_not_signed_gets_no_socket(
    two_calls: TwoCalls, headers: dict[str, str]
) -> None:
    assert handshake_is_refused(f"{two_calls.at}twilio/relay", headers)


@pytest.mark.parametrize("path", ["fake/relay", "nobody/relay", "twilio/relay/more"])
@pytest.mark.usefixtures("untouched")
def test_a_carrier_that_has_no_sockets_gets_none(two_calls: TwoCalls, path: str) -> None:
    assert handshake_is_refused(f"{two_calls.at}{path}", two_calls.headers())


def test_a_signature_of_the_url_with_a_slash_is_twilios_too(two_calls: TwoCalls) -> None:
    signature = socket_signature(ACCOUNT_LOGIN, f"{URL}/")

    assert not handshake_is_refused(f"{two_calls.at}twilio/relay", {HEADER: signature})


# --- The setup ---------------------------------------------------------------------------------


def _of_http(scene: TwoCalls) -> str:
    """The token of the call's requests."""
    state = scene.call.twiml.interpret().state if scene.call.twiml else None
    assert state
    return state


def _of_another_key(scene: TwoCalls) -> str:
    return crypto.sign("another-secret-than-ours", ["a", "b", "c", 1, 2], purpose="relay")


FORGERIES: Mapping[str, Callable[[TwoCalls], Mapping[str, Any]]] = {
    "no parameters": lambda scene: {"customParameters": None},
    "no token": lambda scene: {"customParameters": {}},
    "an empty token": lambda scene: {"customParameters": {"token": ""}},
    "a token of no text": lambda scene: {"customParameters": {"token": 7}},
    "garbage": lambda scene: {"customParameters": {"token": "garbage"}},
    "a long token": lambda scene: {"customParameters": {"token": "x" * 5_000}},
    "a cut token": lambda scene: {"customParameters": {"token": scene.token[:-1]}},
    "the token of its requests": lambda scene: {"customParameters": {"token": _of_http(scene)}},
    "another key's": lambda scene: {"customParameters": {"token": _of_another_key(scene)}},
    "another tenant's": lambda scene: {"customParameters": {"token": scene.their_token}},
    "another tenant's call": lambda scene: {"callSid": scene.theirs.sid},
    "no call": lambda scene: {"callSid": None},
    "an unknown call": lambda scene: {"callSid": f"CA{0:032x}"},
    "another carrier's field": lambda scene: {"callSid": "", "callControlId": scene.call.sid},
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.usefixtures("untouched")
def test_a_socket_of_no_call_of_ours_is_closed(
    two_calls: TwoCalls, forged: Callable[[TwoCalls], Mapping[str, Any]]
) -> None:
    assert two_calls.open(**forged(two_calls)).receive_close_code() == REFUSED


@pytest.mark.usefixtures("untouched")
def test_a_socket_that_begins_with_anything_else_is_closed(two_calls: TwoCalls) -> None:
    socket = CarrierWebSocket(f"{two_calls.at}twilio/relay", headers=two_calls.headers())

    socket.send("prompt", voicePrompt="Hello?", last=True)

    assert socket.receive_close_code() == REFUSED


@pytest.mark.usefixtures("untouched")
def test_a_socket_that_tells_nothing_is_closed(
    two_calls: TwoCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_SETUP_S", 0.2)

    socket = CarrierWebSocket(f"{two_calls.at}twilio/relay", headers=two_calls.headers())

    assert socket.receive_close_code() == REFUSED


def test_a_token_opens_one_socket(two_calls: TwoCalls, acme: Tenant, database_url: str) -> None:
    first = two_calls.open()
    witness = SnapshotChecker(database_url)
    opened = "SELECT 1 FROM public.relay_slots WHERE opened"
    wait_until(lambda: witness.rows(opened))
    before = witness.checksum(acme.id)

    assert two_calls.open().receive_close_code() == REFUSED
    first.close()
    wait_until(lambda: not witness.rows(opened))
    assert two_calls.open().receive_close_code() == REFUSED
    assert witness.checksum(acme.id) == before
    witness.close()


def test_a_token_is_good_for_ten_seconds(two_calls: TwoCalls) -> None:
    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.relay_slots SET ends_at = now() - interval '1 ms'"))

    assert two_calls.open().receive_close_code() == REFUSED


def test_a_call_that_has_ended_opens_no_socket(two_calls: TwoCalls) -> None:
    two_calls.call.hang_up()

    assert two_calls.open().receive_close_code() == REFUSED


@pytest.mark.usefixtures("untouched")
def test_a_token_is_of_its_carrier(two_calls: TwoCalls) -> None:
    with telnyx_server() as server, new_account(server):
        providers.current_carriers().register(create_adapter(server, Signer()))

        stranger = two_calls.open("telnyx/relay", callControlId=two_calls.call.sid)

        assert stranger.receive_close_code() == REFUSED


def test_what_is_genuine_is_let_in(two_calls: TwoCalls) -> None:
    for call in (two_calls.call, two_calls.theirs):
        assert call.twiml is not None
        socket = open_twilio_socket(two_calls.at, call.twiml.find("ConversationRelay"), call.sid)
        assert socket.say("Hello?")
        socket.close()


# --- On a tenant's own account -----------------------------------------------------------------


def test_on_a_tenants_own_account_that_account_must_have_signed(
    relay_url: str, twilio: ConnectedTwilio, anonymous: Api, acme: Tenant
) -> None:
    fields = {"account_sid": OTHER_LOGIN.account_sid, "auth_token": OTHER_LOGIN.auth_token}
    account = acme.post("/telephony-accounts", {"provider_type": "twilio", "fields": fields}).json
    acme.profile(greeting="Hello.")
    number = acme.number(provider_type="twilio", telephony_account_id=account["id"])
    call = TwilioCall(anonymous, number["did_number"], login=OTHER_LOGIN)
    relay = call.ring()
    url = relay.find("ConversationRelay").get("url") or ""
    held = url.removeprefix(URL)
    token = relay.find("Parameter").get("value")
    setup = {"callSid": call.sid, "customParameters": {"token": token}}

    by_ours = {HEADER: socket_signature(ACCOUNT_LOGIN, URL)}
    assert handshake_is_refused(
        f"{relay_url}twilio/relay{held}", {HEADER: socket_signature(ACCOUNT_LOGIN, url)}
    )
    assert handshake_is_refused(
        f"{relay_url}twilio/relay", {HEADER: socket_signature(OTHER_LOGIN, URL)}
    )
    assert handshake_is_refused(
        f"{relay_url}twilio/relay{held}x", {HEADER: socket_signature(OTHER_LOGIN, f"{url}x")}
    )
    assert (
        CarrierWebSocket(
            f"{relay_url}twilio/relay", setup=setup, headers=by_ours
        ).receive_close_code()
        == REFUSED
    )
    genuine = {HEADER: socket_signature(OTHER_LOGIN, url)}
    socket = CarrierWebSocket(f"{relay_url}twilio/relay{held}", setup=setup, headers=genuine)
    assert socket.say("Hello?")
    socket.close()
