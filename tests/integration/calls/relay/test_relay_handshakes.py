"""Handshakes of voice WebSockets: which are accepted, for how long, and what refusals count."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from flask import Flask

from tests.fakes.carriers.call_scripts import url_token
from tests.fakes.carriers.carrier_websocket import (
    CarrierWebSocket,
    handshake_is_refused,
    handshake_status,
    run_relay,
)
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN, OTHER_LOGIN, ConnectedTwilio
from tests.fakes.carriers.twilio.webhooks import socket_signature
from tests.integration.calls.relay.conftest import open_session, open_socket
from tests.support.api import Api
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from tests.support.services import app_services
from vca.kit import clock
from vca.registry import unsigned_states
from vca.servers.relay import route
from vca.tenant.calls.carrier_webhooks import voice_websockets

POLICY_VIOLATION = 1008


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still."""

    time: datetime

    def now(self) -> datetime:
        return self.time


class CountedRelay:
    """A running server, and how many refusals it has counted."""

    def __init__(self) -> None:
        self.refusals = 0
        self.url = ""

    def count(self) -> None:
        self.refusals += 1


@pytest.fixture
def counted_relay(app: Flask) -> Iterator[CountedRelay]:
    relay = CountedRelay()
    with run_relay(count_refusal=relay.count, threads=4) as relay.url:
        yield relay


def _url_of(call: TwilioCall) -> str:
    return call.ring().find("ConversationRelay").get("url") or ""


def _headers(url: str) -> dict[str, str]:
    return {"X-Twilio-Signature": socket_signature(ACCOUNT_LOGIN, url)}


def _path(url: str) -> str:
    return f"twilio/relay/{url_token(url)}"


# --- How long a URL is valid ---


def test_a_url_is_refused_after_a_minute(
    relay_url: str, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=60) == voice_websockets.URL_LIFETIME
    monkeypatch.setattr(voice_websockets, "URL_LIFETIME", timedelta(seconds=-1))
    url = _url_of(call)

    assert handshake_is_refused(f"{relay_url}{_path(url)}", _headers(url))


def test_a_carrier_reconnects_with_the_url_of_its_call_after_a_minute(
    relay_url: str, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(relay_url, call)
    assert session.say("Hello?")
    _let_urls_expire(monkeypatch)

    session.socket.break_connection()
    wait_until(lambda: not session.socket.client.connected)
    session.reconnect()

    assert session.say("Are you still there?")
    assert session.connection_count == 2
    session.hang_up()


def _let_urls_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all URLs so far be more than a minute old, for handshakes only."""
    later = clock.now() + timedelta(seconds=61)
    monkeypatch.setattr(f"{voice_websockets.__name__}.clock", FixedClock(later))


def _use_url(relay_url: str, call: TwilioCall) -> str:
    """Open and close the WebSocket of a new call, and return the URL that Twilio got for it."""
    document = call.ring()
    open_socket(relay_url, call, document).close()
    return document.find("ConversationRelay").get("url") or ""


def test_a_url_that_no_websocket_has_used_is_refused_to_a_reconnection(
    relay_url: str, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _url_of(call)
    _let_urls_expire(monkeypatch)

    assert handshake_is_refused(f"{relay_url}{_path(url)}", _headers(url))


def test_the_url_of_an_ended_call_is_refused_to_a_reconnection(
    relay_url: str, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _use_url(relay_url, call)
    call.hang_up()
    _let_urls_expire(monkeypatch)

    assert handshake_is_refused(f"{relay_url}{_path(url)}", _headers(url))


def test_a_carrier_that_does_not_reconnect_uses_a_url_only_for_a_minute(
    relay_url: str, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _use_url(relay_url, call)
    adapter = app_services().carriers.adapter("twilio")
    assert adapter is not None
    assert adapter.websocket_format is not None
    monkeypatch.setattr(
        adapter, "websocket_format", replace(adapter.websocket_format, reconnects=False)
    )
    _let_urls_expire(monkeypatch)

    assert handshake_is_refused(f"{relay_url}{_path(url)}", _headers(url))


# --- The token of the first frame ---


def test_the_first_frame_needs_the_token_of_the_same_call(
    relay_url: str, anonymous: Api, number: str
) -> None:
    first, second = TwilioCall(anonymous, number), TwilioCall(anonymous, number)
    first_document, second_document = first.ring(), second.ring()
    url = first_document.find("ConversationRelay").get("url") or ""
    token = second_document.find("Parameter").get("value")
    setup = {"callSid": second.sid, "customParameters": {"token": token}}

    socket = CarrierWebSocket(f"{relay_url}{_path(url)}", setup=setup, headers=_headers(url))

    assert socket.receive_close_code() == POLICY_VIOLATION


# --- Strangers ---


def test_each_refusal_is_counted(counted_relay: CountedRelay, call: TwilioCall) -> None:
    url = _url_of(call)
    handshakes = [
        ("telnyx/relay", {}),
        ("twilio/relay", _headers("/telephony/twilio/relay")),
        ("twilio/relay/garbage", {}),
        (_path(url), {}),
    ]
    for path, headers in handshakes:
        assert handshake_is_refused(f"{counted_relay.url}{path}", headers)
    assert counted_relay.refusals == len(handshakes)

    socket = CarrierWebSocket(f"{counted_relay.url}{_path(url)}", headers=_headers(url))
    socket.send("prompt", voicePrompt="Hello?", last=True)

    assert socket.receive_close_code() == POLICY_VIOLATION
    wait_until(lambda: counted_relay.refusals == len(handshakes) + 1)


def test_a_good_handshake_is_not_counted(counted_relay: CountedRelay, call: TwilioCall) -> None:
    socket = open_socket(counted_relay.url, call)

    assert socket.say("Hello?")

    socket.close()
    assert counted_relay.refusals == 0


def test_few_websockets_may_be_open_without_a_first_frame(
    counted_relay: CountedRelay, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_SETUP_S", 20)
    monkeypatch.setattr(route, "_PLACE_TIMEOUT_S", 0)
    url = _url_of(call)
    address, headers = f"{counted_relay.url}{_path(url)}", _headers(url)
    silent = [CarrierWebSocket(address, headers=headers) for _ in range(2)]

    assert handshake_status(address, headers) == 503

    silent.pop().close()
    wait_until(lambda: handshake_status(address, headers) != 503)
    silent.pop().close()


def test_a_handshake_waits_for_its_place(
    counted_relay: CountedRelay, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_PLACE_TIMEOUT_S", 20)
    url = _url_of(call)
    address, headers = f"{counted_relay.url}{_path(url)}", _headers(url)
    silent = [CarrierWebSocket(address, headers=headers) for _ in range(2)]

    assert handshake_status(address, headers) == 101  # after a second, when those are closed

    for socket in silent:
        assert socket.receive_close_code() == POLICY_VIOLATION


def test_a_websocket_takes_no_place_after_its_first_frame(
    counted_relay: CountedRelay, anonymous: Api, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_SETUP_S", 20)
    talking = open_socket(counted_relay.url, TwilioCall(anonymous, number))
    assert talking.say("Hello?")
    url = _url_of(TwilioCall(anonymous, number))
    address, headers = f"{counted_relay.url}{_path(url)}", _headers(url)

    silent = CarrierWebSocket(address, headers=headers)

    assert handshake_status(address, headers) == 101
    for socket in (talking, silent):
        socket.close()


def test_a_websocket_has_a_second_for_its_first_frame(relay_url: str, call: TwilioCall) -> None:
    assert route._SETUP_S == 1
    url = _url_of(call)

    socket = CarrierWebSocket(f"{relay_url}{_path(url)}", headers=_headers(url))

    assert socket.receive_close_code() == POLICY_VIOLATION


def test_a_strangers_handshake_needs_no_database(
    relay_url: str, call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("a stranger's handshake has used the database")

    url = _url_of(call)
    for name in ("public_connection", "tenant_session"):
        monkeypatch.setattr(voice_websockets, name, fail)
    monkeypatch.setattr(unsigned_states, "are_accepted", fail)

    for path in ("telnyx/relay", "twilio/relay", "twilio/relay/garbage", _path(url)):
        assert handshake_is_refused(f"{relay_url}{path}", {})


# --- A tenant's telephony account ---


def test_a_websocket_of_a_tenants_account_needs_that_accounts_signature(
    relay_url: str, twilio: ConnectedTwilio, anonymous: Api, acme: Tenant
) -> None:
    fields = {"account_sid": OTHER_LOGIN.account_sid, "auth_token": OTHER_LOGIN.auth_token}
    account = acme.post("/telephony-accounts", {"provider_type": "twilio", "fields": fields}).json
    acme.profile(greeting="Hello.")
    number = acme.number(provider_type="twilio", telephony_account_id=account["id"])
    call = TwilioCall(anonymous, number["did_number"], login=OTHER_LOGIN)
    relay = call.ring()
    url = relay.find("ConversationRelay").get("url") or ""
    account_suffix = url.removeprefix("/telephony/twilio/relay")
    token = relay.find("Parameter").get("value")
    setup = {"callSid": call.sid, "customParameters": {"token": token}}

    assert handshake_is_refused(
        f"{relay_url}twilio/relay{account_suffix}",
        {"X-Twilio-Signature": socket_signature(ACCOUNT_LOGIN, url)},
    )
    for login in (ACCOUNT_LOGIN, OTHER_LOGIN):
        assert handshake_is_refused(
            f"{relay_url}twilio/relay",
            {"X-Twilio-Signature": socket_signature(login, "/telephony/twilio/relay")},
        )
    assert handshake_is_refused(
        f"{relay_url}twilio/relay{account_suffix}x",
        {"X-Twilio-Signature": socket_signature(OTHER_LOGIN, f"{url}x")},
    )
    account_signature = {"X-Twilio-Signature": socket_signature(OTHER_LOGIN, url)}
    socket = CarrierWebSocket(
        f"{relay_url}twilio/relay{account_suffix}", setup=setup, headers=account_signature
    )
    assert socket.say("Hello?")
    socket.close()
