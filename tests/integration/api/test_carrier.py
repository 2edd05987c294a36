"""What a carrier sends over HTTP: believed when it is signed, bounded, and read strictly."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from tests.support.api import Api
from tests.support.carrier_client import BASE_PATH, CALLER, CarrierClient
from tests.support.factories import Tenant, fresh_number
from vca.kit import crypto
from vca.registry.number_registry import service as dids
from vca.telephony.providers.fake.adapter import SIGNATURE_HEADER, FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy.session import public_session
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    number: str = acme.number()["did_number"]
    return number


def _calls(tenant: Tenant) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get("/calls").json
    return found


def _turns(tenant: Tenant, call: Mapping[str, Any]) -> list[str]:
    return [turn["text"] for turn in tenant.get(f"/calls/{call['id']}/turns").json]


def _misses(number: str) -> int:
    with public_session() as session:
        return sum(
            miss.misses for miss in dids.list_unrouted_numbers(session) if miss.did_number == number
        )


# --- Forged -------------------------------------------------------------------------------------


def _forgeries(carrier: FakeTelephonyAdapter, to: str) -> Iterator[CarrierRequest]:
    said = {"call_id": "forged-1", "to": to, "from": CALLER}
    genuine = carrier.signed_request("voice", BASE_PATH, **said)
    bearing = genuine.headers[SIGNATURE_HEADER]
    for headers in (
        {},
        {SIGNATURE_HEADER: ""},
        {SIGNATURE_HEADER: "é"},
        {SIGNATURE_HEADER: bearing[:-1] + "0x"},
    ):
        yield CarrierRequest("voice", genuine.url, headers, genuine.body)
    yield FakeTelephonyAdapter("a guess").signed_request("voice", BASE_PATH, **said)
    yield CarrierRequest("voice", genuine.url, genuine.headers, genuine.body + b" ")
    yield CarrierRequest("speech", f"{BASE_PATH}speech", genuine.headers, genuine.body)
    yield CarrierRequest("voice", f"{BASE_PATH}voice?more=1", genuine.headers, genuine.body)
    elsewhere = carrier.signed_request(
        "voice", "https://elsewhere.example.com/telephony/fake/", **said
    )
    yield CarrierRequest("voice", genuine.url, elsewhere.headers, genuine.body)


def test_a_forged_request_is_403_and_nothing_is_written(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    for forged in _forgeries(carrier, answered_number):
        response = carrier_client.send(forged)

        assert response.status_code == 403
        assert response.json["code"] == "forbidden"

    assert _calls(acme) == []
    assert list(carrier.operations) == []


def test_a_forged_ring_of_an_unknown_number_is_not_counted(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter
) -> None:
    number = fresh_number()
    for forged in _forgeries(carrier, number):
        assert carrier_client.send(forged).status_code == 403

    assert _misses(number) == 0


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"])
def test_no_header_changes_the_url_that_was_signed(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, answered_number: str, header: str
) -> None:
    request = carrier.signed_request("voice", BASE_PATH, call_id="hosted-1", to=answered_number)

    assert carrier_client.send(request, **{header: "elsewhere.example.com"}).status_code == 200


def test_the_signed_url_is_the_configured_public_one(
    app: Flask, carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, answered_number: str
) -> None:
    app.config["PUBLIC_BASE_URL"] = "https://voice.example.com/vca"
    inside = carrier.signed_request("voice", BASE_PATH, call_id="public-1", to=answered_number)
    outside = carrier.signed_request(
        "voice",
        "https://voice.example.com/vca/telephony/fake/",
        call_id="public-1",
        to=answered_number,
    )

    assert carrier_client.send(inside).status_code == 403
    seen_by_us = CarrierRequest("voice", inside.url, outside.headers, outside.body)
    assert carrier_client.send(seen_by_us).status_code == 200


# --- Not a carrier's request --------------------------------------------------------------------


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
def test_an_unknown_carrier_or_action_is_404(anonymous: Api, path: str) -> None:
    response = anonymous.send("POST", path, data=b"{}")

    assert response.status_code == 404
    assert response.json["code"] == "not-found"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_carrier_posts_and_nothing_else(anonymous: Api, method: str) -> None:
    assert anonymous.send(method, f"{BASE_PATH}voice").status_code == 405


def test_a_body_that_is_too_large_is_413(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    big = carrier.signed_request(
        "voice", BASE_PATH, call_id="big-1", to=answered_number, more="x" * 65_536
    )

    assert carrier_client.send(big).status_code == 413
    assert _calls(acme) == []


def test_a_chunked_body_is_411(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    request = carrier.signed_request("voice", BASE_PATH, call_id="chunked-1", to=answered_number)

    assert carrier_client.send(request, **{"Transfer-Encoding": "chunked"}).status_code == 411
    assert _calls(acme) == []


def test_a_compressed_body_is_415(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, answered_number: str
) -> None:
    request = carrier.signed_request("voice", BASE_PATH, call_id="zipped-1", to=answered_number)

    assert carrier_client.send(request, **{"Content-Encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"call_id": 7},
        {"call_id": "a", "to": None, "from": 3},
        {"call_id": "a" * 129},
        {"call_id": "a", "to": "+1" * 40},
    ],
)
def test_what_the_carrier_would_not_send_is_400(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, said: dict[str, Any]
) -> None:
    response = carrier_client.send(carrier.signed_request("voice", BASE_PATH, **said))

    assert response.status_code == 400
    assert response.json["code"] == "unreadable-carrier-request"


@pytest.mark.parametrize("body", [b"", b"\x00", b"[]", b"null", b"{", b'{"a":1,"a":2}', b"\xff"])
def test_signed_nonsense_is_400(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, body: bytes
) -> None:
    url = f"{BASE_PATH}voice"
    headers = {SIGNATURE_HEADER: carrier.sign(url, body).decode()}

    assert carrier_client.send(CarrierRequest("voice", url, headers, body)).status_code == 400


# --- The token ----------------------------------------------------------------------------------


def _false_tokens(app: Flask, acme: Tenant, genuine: str) -> Iterator[str]:
    value = [acme.ref.id.hex, "0" * 32]
    yield "x"
    # Not the last character of the signature: two bits of it mean nothing.
    yield genuine[:-2] + ("A" if genuine[-2] != "A" else "B") + genuine[-1]
    yield genuine.rpartition(".")[0]
    yield "." + genuine.rpartition(".")[2]
    yield crypto.sign("a guess", value, purpose="call")
    yield crypto.sign(app.config["SECRET_KEY"], value, purpose="cursor|/api/tenants|[]")
    yield "é☎"


@pytest.mark.parametrize("action", ["speech", "status"])
def test_a_false_token_is_400_and_nothing_is_written(
    app: Flask,
    carrier_client: CarrierClient,
    carrier: FakeTelephonyAdapter,
    acme: Tenant,
    answered_number: str,
    action: str,
) -> None:
    genuine = carrier_client.ring(answered_number, "token-1")["state"]

    for state in _false_tokens(app, acme, genuine):
        said = {"call_id": "token-1", "state": state, "text": "Hello?", "status": "completed"}
        response = carrier_client.send(carrier.signed_request(action, BASE_PATH, **said))
        assert response.status_code == 400, state

    [call] = _calls(acme)
    assert call["status"] == "in_progress"
    assert _turns(acme, call) == ["Acme here."]


def test_speech_without_a_token_is_400(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant, answered_number: str
) -> None:
    carrier_client.ring(answered_number, "mute-1")

    response = carrier_client.send(
        carrier.signed_request("speech", BASE_PATH, call_id="mute-1", text="Hello?")
    )

    assert response.status_code == 400
    assert _turns(acme, _calls(acme)[0]) == ["Acme here."]


def test_a_token_of_a_call_that_is_not_there_is_404(
    carrier_client: CarrierClient, carrier: FakeTelephonyAdapter, acme: Tenant
) -> None:
    state = call_services.current_services().sign_state(CallRef(acme.ref, UUID(int=0)), turns=1)

    for action in ("speech", "status"):
        said = {"call_id": "gone-1", "state": state, "text": "Hello?", "status": "completed"}
        assert (
            carrier_client.send(carrier.signed_request(action, BASE_PATH, **said)).status_code
            == 404
        )
