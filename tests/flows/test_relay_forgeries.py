"""Sockets that are of no call of ours: closed, and nothing is written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from tests.carriers.players import twilio_socket
from tests.carriers.sockets import CarrierSocket, is_refused, serving
from tests.carriers.telnyx.accounts import adapter_of, fresh
from tests.carriers.telnyx.server import telnyx_server
from tests.carriers.telnyx.signing import Signer
from tests.carriers.twilio.line import TwilioCall
from tests.carriers.twilio.rig import OURS, THEIRS, Rig, rig
from tests.carriers.twilio.webhooks import socket_signature
from tests.support import owner
from tests.support.api import Api
from tests.support.evidence import Evidence
from tests.support.processes import until
from tests.support.world import Tenant
from vca.kit import crypto
from vca.servers.relay import route
from vca.settings import Settings
from vca.telephony import providers
from vca.tenant.calls.core import call_services

URL = "/telephony/twilio/relay"
REFUSED = 1008
HEADER = "X-Twilio-Signature"


@dataclass
class Scene:
    """A call of acme's that may open a socket, one of globex's, and what is on record."""

    at: str
    call: TwilioCall
    token: str
    theirs: TwilioCall
    their_token: str

    def headers(self) -> dict[str, str]:
        return {HEADER: socket_signature(OURS, URL)}

    def setup(self, **changed: Any) -> Mapping[str, Any]:
        said = {"callSid": self.call.sid, "customParameters": {"token": self.token}}
        return {**said, **changed}

    def open(self, path: str = "twilio/relay", **changed: Any) -> CarrierSocket:
        url, setup = f"{self.at}{path}", self.setup(**changed)
        return CarrierSocket(url, setup=setup, headers=self.headers())


@pytest.fixture
def at(app: Flask) -> Iterator[str]:
    with serving() as url:
        yield url
    with owner.public() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[Rig]:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=9))
    with rig() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made


@pytest.fixture
def scene(at: str, twilio: Rig, anonymous: Api, acme: Tenant, globex: Tenant) -> Scene:
    calls = [_call(anonymous, tenant) for tenant in (acme, globex)]
    (call, token), (theirs, their_token) = calls
    return Scene(at, call, token, theirs, their_token)


def _call(api: Api, tenant: Tenant) -> tuple[TwilioCall, str]:
    tenant.profile(greeting="Hello.")
    call = TwilioCall(api, tenant.number(provider_type="twilio")["did_number"])
    return call, call.ring().find("Parameter").get("value") or ""


@pytest.fixture
def untouched(scene: Scene, acme: Tenant, globex: Tenant, database_url: str) -> Iterator[None]:
    """Nothing is written, and no slot opened, in the course of the test."""
    witness = Evidence(database_url)
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
        {HEADER: socket_signature(THEIRS, URL)},
        {HEADER: socket_signature(OURS, "/telephony/twilio/turn")},
        {HEADER: socket_signature(OURS, "wss://elsewhere.example.com/telephony/twilio/relay")},
    ],
    ids=["none", "empty", "long", "garbage", "another account", "another URL", "another host"],
)
@pytest.mark.usefixtures("untouched")
def test_a_handshake_that_the_carrier_has_not_signed_gets_no_socket(
    scene: Scene, headers: dict[str, str]
) -> None:
    assert is_refused(f"{scene.at}twilio/relay", headers)


@pytest.mark.parametrize("path", ["fake/relay", "nobody/relay", "twilio/relay/more"])
@pytest.mark.usefixtures("untouched")
def test_a_carrier_that_has_no_sockets_gets_none(scene: Scene, path: str) -> None:
    assert is_refused(f"{scene.at}{path}", scene.headers())


def test_a_signature_of_the_url_with_a_slash_is_twilios_too(scene: Scene) -> None:
    signature = socket_signature(OURS, f"{URL}/")

    assert not is_refused(f"{scene.at}twilio/relay", {HEADER: signature})


# --- The setup ---------------------------------------------------------------------------------


def _of_http(scene: Scene) -> str:
    """The token of the call's requests."""
    state = scene.call.heard.understood().state if scene.call.heard else None
    assert state
    return state


def _of_another_key(scene: Scene) -> str:
    return crypto.sign("another-secret-than-ours", ["a", "b", "c", 1, 2], purpose="relay")


FORGERIES: Mapping[str, Callable[[Scene], Mapping[str, Any]]] = {
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
    scene: Scene, forged: Callable[[Scene], Mapping[str, Any]]
) -> None:
    assert scene.open(**forged(scene)).closed() == REFUSED


@pytest.mark.usefixtures("untouched")
def test_a_socket_that_begins_with_anything_else_is_closed(scene: Scene) -> None:
    socket = CarrierSocket(f"{scene.at}twilio/relay", headers=scene.headers())

    socket.tell("prompt", voicePrompt="Hello?", last=True)

    assert socket.closed() == REFUSED


@pytest.mark.usefixtures("untouched")
def test_a_socket_that_tells_nothing_is_closed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_SETUP_S", 0.2)

    socket = CarrierSocket(f"{scene.at}twilio/relay", headers=scene.headers())

    assert socket.closed() == REFUSED


def test_a_token_opens_one_socket(scene: Scene, acme: Tenant, database_url: str) -> None:
    first = scene.open()
    witness = Evidence(database_url)
    opened = "SELECT 1 FROM public.relay_slots WHERE opened"
    until(lambda: witness.rows(opened))
    before = witness.checksum(acme.id)

    assert scene.open().closed() == REFUSED
    first.close()
    until(lambda: not witness.rows(opened))
    assert scene.open().closed() == REFUSED
    assert witness.checksum(acme.id) == before
    witness.close()


def test_a_token_is_good_for_ten_seconds(scene: Scene) -> None:
    with owner.public() as session:
        session.execute(text("UPDATE public.relay_slots SET ends_at = now() - interval '1 ms'"))

    assert scene.open().closed() == REFUSED


def test_a_call_that_has_ended_opens_no_socket(scene: Scene) -> None:
    scene.call.hang_up()

    assert scene.open().closed() == REFUSED


@pytest.mark.usefixtures("untouched")
def test_a_token_is_of_its_carrier(scene: Scene) -> None:
    with telnyx_server() as server, fresh(server):
        providers.current_carriers().register(adapter_of(server, Signer()))

        stranger = scene.open("telnyx/relay", callControlId=scene.call.sid)

        assert stranger.closed() == REFUSED


def test_what_is_genuine_is_let_in(scene: Scene) -> None:
    for call in (scene.call, scene.theirs):
        assert call.heard is not None
        socket = twilio_socket(scene.at, call.heard.find("ConversationRelay"), call.sid)
        assert socket.say("Hello?")
        socket.close()


# --- On a tenant's own account -----------------------------------------------------------------


def test_on_a_tenants_own_account_that_account_must_have_signed(
    at: str, twilio: Rig, anonymous: Api, acme: Tenant
) -> None:
    fields = {"account_sid": THEIRS.account_sid, "auth_token": THEIRS.auth_token}
    account = acme.post("/telephony-accounts", {"provider_type": "twilio", "fields": fields}).json
    acme.profile(greeting="Hello.")
    number = acme.number(provider_type="twilio", telephony_account_id=account["id"])
    call = TwilioCall(anonymous, number["did_number"], login=THEIRS)
    relay = call.ring()
    url = relay.find("ConversationRelay").get("url") or ""
    held = url.removeprefix(URL)
    token = relay.find("Parameter").get("value")
    setup = {"callSid": call.sid, "customParameters": {"token": token}}

    by_ours = {HEADER: socket_signature(OURS, URL)}
    assert is_refused(f"{at}twilio/relay{held}", {HEADER: socket_signature(OURS, url)})
    assert is_refused(f"{at}twilio/relay", {HEADER: socket_signature(THEIRS, URL)})
    assert is_refused(f"{at}twilio/relay{held}x", {HEADER: socket_signature(THEIRS, f"{url}x")})
    assert CarrierSocket(f"{at}twilio/relay", setup=setup, headers=by_ours).closed() == REFUSED
    genuine = {HEADER: socket_signature(THEIRS, url)}
    socket = CarrierSocket(f"{at}twilio/relay{held}", setup=setup, headers=genuine)
    assert socket.say("Hello?")
    socket.close()
