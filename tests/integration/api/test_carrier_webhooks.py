"""Requests of carriers: signatures, paths, methods, sizes, bodies and state tokens are checked."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from tests.support.api import Api
from tests.support.carrier_client import BASE_PATH, CALLER, CarrierClient
from tests.support.factories import Tenant, fresh_number
from tests.support.services import app_services
from vca.kit import crypto
from vca.registry.number_registry import service as number_registry
from vca.telephony.providers.fake.adapter import SIGNATURE_HEADER, FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy.session import public_session
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """Return a number of Acme that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    number: str = acme.number()["did_number"]
    return number


def _calls(tenant: Tenant) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = tenant.get("/calls").json
    return calls


def _turns(tenant: Tenant, call: Mapping[str, Any]) -> list[str]:
    return [turn["text"] for turn in tenant.get(f"/calls/{call['id']}/turns").json]


def _unrouted_count(number: str) -> int:
    with public_session(database=app_services().database) as session:
        return sum(
            unrouted_number.misses
            for unrouted_number in number_registry.list_unrouted_numbers(session)
            if unrouted_number.did_number == number
        )


# --- Forged requests ----------------------------------------------------------------------------


def _forged_requests(carrier: FakeTelephonyAdapter, to_number: str) -> Iterator[CarrierRequest]:
    fields = {"call_id": "forged-1", "to": to_number, "from": CALLER}
    valid = carrier.signed_request("voice", BASE_PATH, **fields)
    signature = valid.headers[SIGNATURE_HEADER]
    for headers in (
        {},
        {SIGNATURE_HEADER: ""},
        {SIGNATURE_HEADER: "é"},
        {SIGNATURE_HEADER: signature[:-1] + "0x"},
    ):
        yield CarrierRequest("voice", valid.url, headers, valid.body)
    yield FakeTelephonyAdapter("a guess").signed_request("voice", BASE_PATH, **fields)
    yield CarrierRequest("voice", valid.url, valid.headers, valid.body + b" ")
    yield CarrierRequest("speech", f"{BASE_PATH}speech", valid.headers, valid.body)
    yield CarrierRequest("voice", f"{BASE_PATH}voice?more=1", valid.headers, valid.body)
    other_url = carrier.signed_request(
        "voice", "https://elsewhere.example.com/telephony/fake/", **fields
    )
    yield CarrierRequest("voice", valid.url, other_url.headers, valid.body)


def test_a_forged_request_returns_403_and_creates_no_call(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    for forged_request in _forged_requests(carrier, answered_number):
        response = carrier_client.send(forged_request)

        assert response.status_code == 403
        assert response.json["code"] == "forbidden"

    assert _calls(acme) == []
    assert list(carrier.operations) == []


def test_a_forged_call_to_an_unknown_number_is_not_counted(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter
) -> None:
    number = fresh_number()
    for forged_request in _forged_requests(carrier, number):
        assert carrier_client.send(forged_request).status_code == 403

    assert _unrouted_count(number) == 0


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"])
def test_no_header_changes_the_url_whose_signature_is_checked(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, answered_number: str, header: str
) -> None:
    request = carrier.signed_request("voice", BASE_PATH, call_id="hosted-1", to=answered_number)

    assert carrier_client.send(request, **{header: "elsewhere.example.com"}).status_code == 200


def test_the_signature_is_checked_for_the_configured_public_url(
    app: Flask, carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, answered_number: str
) -> None:
    app.config["PUBLIC_BASE_URL"] = "https://voice.example.com/vca"
    internal_request = carrier.signed_request(
        "voice", BASE_PATH, call_id="public-1", to=answered_number
    )
    public_request = carrier.signed_request(
        "voice",
        "https://voice.example.com/vca/telephony/fake/",
        call_id="public-1",
        to=answered_number,
    )

    assert carrier_client.send(internal_request).status_code == 403
    forwarded_request = CarrierRequest(
        "voice", internal_request.url, public_request.headers, public_request.body
    )
    assert carrier_client.send(forwarded_request).status_code == 200


# --- Invalid requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/telephony/fake/explode",
        "/telephony/fake/VOICE",
        "/telephony/nobody/voice",
        "/telephony/generic/voice",
        "/telephony/FAKE/voice",
        "/telephony/fake/voice/more",
        "/telephony/fake",
        "/telephony/fake%00/voice",
    ],
)
def test_an_unknown_carrier_or_action_returns_404(anonymous: Api, path: str) -> None:
    response = anonymous.send("POST", path, data=b"{}")

    assert response.status_code == 404
    assert response.json["code"] == "not-found"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_except_post_returns_405(anonymous: Api, method: str) -> None:
    assert anonymous.send(method, f"{BASE_PATH}voice").status_code == 405


def test_a_body_that_is_too_large_returns_413(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    large_request = carrier.signed_request(
        "voice", BASE_PATH, call_id="big-1", to=answered_number, more="x" * 65_536
    )

    assert carrier_client.send(large_request).status_code == 413
    assert _calls(acme) == []


def test_a_chunked_body_returns_411(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    request = carrier.signed_request("voice", BASE_PATH, call_id="chunked-1", to=answered_number)

    assert carrier_client.send(request, **{"Transfer-Encoding": "chunked"}).status_code == 411
    assert _calls(acme) == []


def test_a_compressed_body_returns_415(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, answered_number: str
) -> None:
    request = carrier.signed_request("voice", BASE_PATH, call_id="zipped-1", to=answered_number)

    assert carrier_client.send(request, **{"Content-Encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"call_id": 7},
        {"call_id": "a", "to": None, "from": 3},
        {"call_id": "a" * 129},
        {"call_id": "a", "to": "+1" * 40},
    ],
)
def test_invalid_fields_return_400(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, fields: dict[str, Any]
) -> None:
    response = carrier_client.send(carrier.signed_request("voice", BASE_PATH, **fields))

    assert response.status_code == 400
    assert response.json["code"] == "unreadable-carrier-request"


@pytest.mark.parametrize("body", [b"", b"\x00", b"[]", b"null", b"{", b'{"a":1,"a":2}', b"\xff"])
def test_a_signed_body_that_is_no_json_object_returns_400(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, body: bytes
) -> None:
    url = f"{BASE_PATH}voice"
    headers = {SIGNATURE_HEADER: carrier.sign(url, body).decode()}

    assert carrier_client.send(CarrierRequest("voice", url, headers, body)).status_code == 400


# --- State tokens -------------------------------------------------------------------------------


def _invalid_tokens(app: Flask, acme: Tenant, valid_token: str) -> Iterator[str]:
    token_fields = [acme.ref.id.hex, "0" * 32]
    yield "x"
    # The last character of a signature encodes two unused bits, so the one before it is changed.
    yield valid_token[:-2] + ("A" if valid_token[-2] != "A" else "B") + valid_token[-1]
    yield valid_token.rpartition(".")[0]
    yield "." + valid_token.rpartition(".")[2]
    yield crypto.sign("a guess", token_fields, purpose="call")
    yield crypto.sign(app.config["SECRET_KEY"], token_fields, purpose="cursor|/api/tenants|[]")
    yield "é☎"


@pytest.mark.parametrize("action", ["speech", "status"])
def test_an_invalid_token_returns_400_and_changes_nothing(
    app: Flask,
    carrier_client: CarrierClient,
    carrier: FakeTelephonyAdapter,
    acme: Tenant,
    answered_number: str,
    action: str,
) -> None:
    valid_token = carrier_client.ring(answered_number, "token-1")["state"]

    for state in _invalid_tokens(app, acme, valid_token):
        fields = {"call_id": "token-1", "state": state, "text": "Hello?", "status": "completed"}
        response = carrier_client.send(carrier.signed_request(action, BASE_PATH, **fields))
        assert response.status_code == 400, state

    [call] = _calls(acme)
    assert call["status"] == "in_progress"
    assert _turns(acme, call) == ["Acme here."]


def test_speech_without_a_token_returns_400(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    carrier_client.ring(answered_number, "mute-1")

    response = carrier_client.send(
        carrier.signed_request("speech", BASE_PATH, call_id="mute-1", text="Hello?")
    )

    assert response.status_code == 400
    assert _turns(acme, _calls(acme)[0]) == ["Acme here."]


def test_a_token_of_a_missing_call_returns_404(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant
) -> None:
    state = call_tokens.sign_state(
        CallState(CallRef(acme.ref, UUID(int=0)), provider_call_id="gone-1", turns=1),
        services=app_services(),
    )

    for action in ("speech", "status"):
        fields = {"call_id": "gone-1", "state": state, "text": "Hello?", "status": "completed"}
        assert (
            carrier_client.send(carrier.signed_request(action, BASE_PATH, **fields)).status_code
            == 404
        )
