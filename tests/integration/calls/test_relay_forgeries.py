"""Voice WebSockets without a valid signature or token are rejected, and nothing is written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_twilio_socket, url_token
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
from tests.support import admin_db, previous_release
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from tests.support.services import app_services, use_carriers, use_settings
from vca.kit import clock, crypto
from vca.servers.relay import route
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.types import ProviderAccountRef, WebSocketFormat
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import WebSocketClaims
from vca.tenant.calls.core.call_types import CallRef

RELAY_PATH = "/telephony/twilio/relay"
Sign = Callable[[str], str]
POLICY_VIOLATION = 1008
SIGNATURE_HEADER = "X-Twilio-Signature"


@dataclass
class TwoCalls:
    """A ringing call of acme and one of globex, each with the token of its WebSocket.

    `url` is that of acme's WebSocket, as the product has given it to Twilio.
    """

    relay_url: str
    call: TwilioCall
    url: str
    token: str
    globex_call: TwilioCall
    globex_token: str

    @property
    def path(self) -> str:
        """Return its path below the server's URL."""
        return f"twilio/relay/{url_token(self.url)}"

    def headers(self, path: str | None = None) -> dict[str, str]:
        url = self.url if path is None else f"/telephony/{path}"
        return {SIGNATURE_HEADER: socket_signature(ACCOUNT_LOGIN, url)}

    def setup_frame(self, **changes: Any) -> Mapping[str, Any]:
        """Return the first frame of acme's WebSocket with these changes."""
        frame = {"callSid": self.call.sid, "customParameters": {"token": self.token}}
        return {**frame, **changes}

    def open(self, **changes: Any) -> CarrierWebSocket:
        """Open acme's WebSocket with a setup frame that has these changes."""
        url, setup = f"{self.relay_url}{self.path}", self.setup_frame(**changes)
        return CarrierWebSocket(url, setup=setup, headers=self.headers())


@pytest.fixture
def relay_url(app: Flask) -> Iterator[str]:
    """Run the voice WebSocket server and return its URL."""
    with run_relay() as url:
        yield url
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    """Install Twilio as the deployment's carrier and return it."""
    use_settings(relay_slots=9)
    with connected_twilio() as twilio:
        use_carriers(providers.Carriers(settings)).register(twilio.adapter)
        yield twilio


@pytest.fixture
def two_calls(
    relay_url: str, twilio: ConnectedTwilio, anonymous: Api, acme: Tenant, globex: Tenant
) -> TwoCalls:
    """Start a call to each of the two tenants."""
    call, token = _ring(anonymous, acme)
    globex_call, globex_token = _ring(anonymous, globex)
    assert call.twiml is not None
    url = call.twiml.find("ConversationRelay").get("url") or ""
    return TwoCalls(relay_url, call, url, token, globex_call, globex_token)


def _ring(api: Api, tenant: Tenant) -> tuple[TwilioCall, str]:
    """Start a call to a new number; return it with the token of its WebSocket."""
    tenant.profile(greeting="Hello.")
    call = TwilioCall(api, tenant.number(provider_type="twilio")["did_number"])
    return call, call.ring().find("Parameter").get("value") or ""


@pytest.fixture
def unchanged_database(
    two_calls: TwoCalls, acme: Tenant, globex: Tenant, database_url: str
) -> Iterator[None]:
    """Fail if the test writes to a tenant or opens a slot."""
    snapshot_checker = SnapshotChecker(database_url)
    slots = "SELECT * FROM public.relay_slots ORDER BY id"

    def read_state() -> tuple[Any, ...]:
        checksums = [snapshot_checker.checksum(tenant.id) for tenant in (acme, globex)]
        return checksums, snapshot_checker.rows(slots)

    before = read_state()
    yield
    after = read_state()
    snapshot_checker.close()
    assert after == before


# --- The handshake ---


@pytest.mark.parametrize(
    "sign",
    [
        None,
        lambda url: "",
        lambda url: "x" * 200,
        lambda url: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        lambda url: socket_signature(OTHER_LOGIN, url),
        lambda url: socket_signature(ACCOUNT_LOGIN, "/telephony/twilio/turn"),
        lambda url: socket_signature(ACCOUNT_LOGIN, RELAY_PATH),
        lambda url: socket_signature(ACCOUNT_LOGIN, f"wss://elsewhere.example.com{url}"),
    ],
    ids=[
        *("none", "empty", "long", "garbage", "another account", "another URL"),
        *("no token", "another host"),
    ],
)
@pytest.mark.usefixtures("unchanged_database")
def test_a_handshake_without_a_valid_signature_is_rejected(
    two_calls: TwoCalls, sign: Sign | None
) -> None:
    headers = {SIGNATURE_HEADER: sign(two_calls.url)} if sign is not None else {}

    assert handshake_is_refused(f"{two_calls.relay_url}{two_calls.path}", headers)


@pytest.mark.parametrize(
    "path",
    [
        *("fake/relay", "nobody/relay", "twilio/relay", "telnyx/relay"),
        *("twilio/relay/more", "telnyx/relay/more"),
    ],
)
@pytest.mark.usefixtures("unchanged_database")
def test_a_handshake_without_a_token_of_ours_is_rejected(two_calls: TwoCalls, path: str) -> None:
    assert handshake_is_refused(f"{two_calls.relay_url}{path}", two_calls.headers(path))


@pytest.mark.usefixtures("unchanged_database")
def test_a_token_for_another_purpose_opens_no_handshake(two_calls: TwoCalls) -> None:
    for token in (_http_state(two_calls), two_calls.token, two_calls.path[:-1]):
        path = f"twilio/relay/{token}"
        assert handshake_is_refused(f"{two_calls.relay_url}{path}", two_calls.headers(path))


def test_a_state_of_this_release_is_no_url_of_the_previous_one(two_calls: TwoCalls) -> None:
    path = f"twilio/relay/{_http_state(two_calls)}"

    with previous_release.accept_unsigned_states():
        assert handshake_is_refused(f"{two_calls.relay_url}{path}", two_calls.headers(path))


def test_a_signature_of_the_url_with_a_trailing_slash_is_accepted(two_calls: TwoCalls) -> None:
    signature = socket_signature(ACCOUNT_LOGIN, f"{two_calls.url}/")

    assert not handshake_is_refused(
        f"{two_calls.relay_url}{two_calls.path}", {SIGNATURE_HEADER: signature}
    )


# --- The setup frame ---


def _http_state(calls: TwoCalls) -> str:
    """Return the state token of the call's HTTP requests."""
    state = calls.call.twiml.interpret().state if calls.call.twiml else None
    assert state
    return state


def _sign_with_other_secret() -> str:
    return crypto.sign("another-secret-than-ours", ["a", "b", "c", 1, 2], purpose="relay")


FORGERIES: Mapping[str, Callable[[TwoCalls], Mapping[str, Any]]] = {
    "no parameters": lambda calls: {"customParameters": None},
    "no token": lambda calls: {"customParameters": {}},
    "an empty token": lambda calls: {"customParameters": {"token": ""}},
    "a token that is a number": lambda calls: {"customParameters": {"token": 7}},
    "garbage": lambda calls: {"customParameters": {"token": "garbage"}},
    "a long token": lambda calls: {"customParameters": {"token": "x" * 5_000}},
    "a truncated token": lambda calls: {"customParameters": {"token": calls.token[:-1]}},
    "the token of its HTTP requests": lambda calls: {
        "customParameters": {"token": _http_state(calls)}
    },
    "a token signed with another secret": lambda calls: {
        "customParameters": {"token": _sign_with_other_secret()}
    },
    "another tenant's token": lambda calls: {"customParameters": {"token": calls.globex_token}},
    "another tenant's call id": lambda calls: {"callSid": calls.globex_call.sid},
    "a null call id": lambda calls: {"callSid": None},
    "an unknown call id": lambda calls: {"callSid": f"CA{0:032x}"},
    "another carrier's field": lambda calls: {"callSid": "", "callControlId": calls.call.sid},
}


@pytest.mark.parametrize("forge_setup", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.usefixtures("unchanged_database")
def test_a_websocket_with_a_forged_setup_frame_is_closed(
    two_calls: TwoCalls, forge_setup: Callable[[TwoCalls], Mapping[str, Any]]
) -> None:
    assert two_calls.open(**forge_setup(two_calls)).receive_close_code() == POLICY_VIOLATION


@pytest.mark.usefixtures("unchanged_database")
def test_a_websocket_whose_first_frame_is_no_setup_is_closed(two_calls: TwoCalls) -> None:
    socket = CarrierWebSocket(f"{two_calls.relay_url}{two_calls.path}", headers=two_calls.headers())

    socket.send("prompt", voicePrompt="Hello?", last=True)

    assert socket.receive_close_code() == POLICY_VIOLATION


@pytest.mark.usefixtures("unchanged_database")
def test_a_websocket_without_a_setup_frame_is_closed(
    two_calls: TwoCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_SETUP_S", 0.2)

    socket = CarrierWebSocket(f"{two_calls.relay_url}{two_calls.path}", headers=two_calls.headers())

    assert socket.receive_close_code() == POLICY_VIOLATION


@pytest.mark.parametrize("reconnects", [True, False], ids=["reconnects", "does not"])
def test_a_used_token_opens_a_websocket_only_if_the_carrier_reconnects(
    two_calls: TwoCalls,
    twilio: ConnectedTwilio,
    acme: Tenant,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reconnects: bool,
) -> None:
    monkeypatch.setattr(
        twilio.adapter, "websocket_format", WebSocketFormat("callSid", reconnects=reconnects)
    )
    first = two_calls.open()
    snapshot_checker = SnapshotChecker(database_url)
    open_slots = "SELECT 1 FROM public.relay_slots WHERE opened"
    wait_until(lambda: snapshot_checker.rows(open_slots))
    before = snapshot_checker.checksum(acme.id)
    if not reconnects:
        assert two_calls.open().receive_close_code() == POLICY_VIOLATION
    first.close()
    wait_until(lambda: not snapshot_checker.rows(open_slots))

    second = two_calls.open()

    if reconnects:
        assert second.say("Hello?")
        second.close()
    else:
        assert second.receive_close_code() == POLICY_VIOLATION
        assert snapshot_checker.checksum(acme.id) == before
    snapshot_checker.close()


@pytest.mark.parametrize("forge_setup", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_setup_frame_replaces_no_connection(
    two_calls: TwoCalls,
    acme: Tenant,
    database_url: str,
    forge_setup: Callable[[TwoCalls], Mapping[str, Any]],
) -> None:
    snapshot_checker = SnapshotChecker(database_url)
    first = two_calls.open()
    wait_until(lambda: snapshot_checker.rows("SELECT 1 FROM public.relay_slots WHERE opened"))
    first.close()
    wait_until(lambda: not snapshot_checker.rows("SELECT 1 FROM public.relay_slots WHERE opened"))
    before = snapshot_checker.checksum(acme.id)

    socket = two_calls.open(**forge_setup(two_calls))

    assert socket.receive_close_code() == POLICY_VIOLATION
    assert snapshot_checker.checksum(acme.id) == before
    snapshot_checker.close()


def test_telnyx_which_signs_no_handshake_does_not_reconnect() -> None:
    assert TelnyxAdapter.websocket_format == WebSocketFormat("callControlId", reconnects=False)


def _database_time() -> datetime:
    with admin_db.public_session() as session:
        time: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return time


@pytest.mark.usefixtures("relay_url", "twilio")
def test_a_token_expires_ten_seconds_after_the_ring(anonymous: Api, acme: Tenant) -> None:
    acme.profile(greeting="Hello.")
    call = TwilioCall(anonymous, acme.number(provider_type="twilio")["did_number"])

    before = _database_time()
    call.ring()
    after = _database_time()

    with admin_db.public_session() as session:
        [ends_at] = session.scalars(text("SELECT ends_at FROM public.relay_slots")).all()
    assert before <= ends_at - timedelta(seconds=10) <= after


def test_an_expired_token_opens_no_websocket(two_calls: TwoCalls) -> None:
    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.relay_slots SET ends_at = now() - interval '1 ms'"))

    assert two_calls.open().receive_close_code() == POLICY_VIOLATION


def test_an_ended_call_opens_no_websocket(two_calls: TwoCalls) -> None:
    two_calls.call.hang_up()

    assert two_calls.open().receive_close_code() == POLICY_VIOLATION


def _sign_telnyx_url() -> str:
    """Return a valid token for the URL of a call on Telnyx."""
    claims = WebSocketClaims(
        CallRef(TenantRef(uuid4()), uuid4()),
        ProviderAccountRef("telnyx"),
        uuid4(),
        clock.now() + timedelta(seconds=60),
    )
    return call_tokens.sign_websocket(claims, services=app_services())


@pytest.mark.usefixtures("unchanged_database")
def test_a_token_is_rejected_at_another_carriers_path(two_calls: TwoCalls) -> None:
    with telnyx_server() as server, new_account(server):
        app_services().carriers.register(create_adapter(server, Signer()))
        paths = (
            two_calls.path.replace("twilio", "telnyx"),
            f"twilio/relay/{_sign_telnyx_url()}",
        )

        for path in paths:
            assert handshake_is_refused(f"{two_calls.relay_url}{path}", {})


@pytest.mark.usefixtures("unchanged_database")
def test_a_carrier_without_an_account_gets_no_websocket(two_calls: TwoCalls) -> None:
    assert handshake_is_refused(f"{two_calls.relay_url}telnyx/relay/{_sign_telnyx_url()}", {})


def test_each_tenants_call_opens_its_websocket(two_calls: TwoCalls) -> None:
    for call in (two_calls.call, two_calls.globex_call):
        assert call.twiml is not None
        socket = open_twilio_socket(
            two_calls.relay_url, call.twiml.find("ConversationRelay"), call.sid
        )
        assert socket.say("Hello?")
        socket.close()
