"""Outbound calls: placed once, also after a lost response of the carrier."""

from typing import Any
from uuid import uuid4

from tests.integration.tenant.call_control.conftest import get_call
from tests.support.carrier_client import BASE_PATH, CarrierClient
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


def _call_request(number: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"to": fresh_number(), "from_phone_number_id": number["id"], **fields}


def test_an_outbound_call_is_placed_once_and_the_agent_talks(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    response = acme.post("/calls", _call_request(number, metadata={"order": "A-1"}))
    world.run_jobs(acme)
    placed_call = next(
        arguments for operation, arguments in carrier.operations if operation == "place_call"
    )
    greeting = carrier_client.send(
        carrier.signed_request(
            "answered", BASE_PATH, call_id="placed-1", state=placed_call["state"]
        )
    ).json
    reply = carrier_client.say("placed-1", greeting["state"], "Who is it?")

    assert response.status_code == 202
    assert response.headers["Location"].endswith(response.json["id"])
    assert response.json["status"] == "queued"
    assert [action["type"] for action in greeting["actions"]] == ["say", "listen"]
    assert reply["actions"]
    call = get_call(acme, response.json)
    assert (call["direction"], call["status"]) == ("outbound", "in_progress")
    assert (call["caller_number"], call["metadata"]) == (number["did_number"], {"order": "A-1"})
    assert [operation for operation, _ in carrier.operations].count("place_call") == 1


def test_a_call_with_a_lost_response_is_looked_up_and_not_placed_twice(
    world: Factory, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    world.run_jobs(acme)
    call = acme.post("/calls", _call_request(number)).json
    carrier.placed_calls[call["id"].replace("-", "")] = "placed-there"
    carrier.fail_next(TelephonyError("timed out", permanent=False, ambiguous=True))

    world.run_jobs(acme)
    world.run_jobs(acme, include_scheduled=True)

    operations = [operation for operation, _ in carrier.operations]
    assert operations.count("place_call") == 1
    assert "find_call" in operations
    assert get_call(acme, call)["provider_call_id"] == "placed-there"


def _place_call_with_lost_response(
    world: Factory, tenant: Tenant, carrier: FakeTelephonyAdapter, number: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Place a call whose response is lost; return the call and the token that its carrier has."""
    call = tenant.post("/calls", _call_request(number)).json
    carrier.fail_next(TelephonyError("timed out", permanent=False, ambiguous=True))
    world.run_jobs(tenant)
    [state] = [
        arguments["state"]
        for operation, arguments in list(carrier.operations)[-1:]
        if operation == "place_call"
    ]
    return call, state


def test_the_first_event_identifies_a_call_with_a_lost_response(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    world.run_jobs(acme)
    call, state = _place_call_with_lost_response(world, acme, carrier, number)

    carrier_client.send_status("there", "ringing", state=state)

    assert get_call(acme, call)["provider_call_id"] == "there"


def test_the_token_of_an_event_corrects_a_wrongly_assigned_call_id(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    world.run_jobs(acme)
    (first, _), (second, state) = (
        _place_call_with_lost_response(world, acme, carrier, number) for _ in range(2)
    )
    carrier.placed_calls[first["id"].replace("-", "")] = "there"
    world.run_jobs(acme, include_scheduled=True)
    assert get_call(acme, first)["provider_call_id"] == "there"

    carrier_client.send_status("there", "ringing", state=state)

    assert get_call(acme, first)["provider_call_id"] is None
    assert get_call(acme, second)["provider_call_id"] == "there"


def test_a_lookup_does_not_assign_the_call_id_of_another_call(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    world.run_jobs(acme)
    (first, _), (second, state) = (
        _place_call_with_lost_response(world, acme, carrier, number) for _ in range(2)
    )
    carrier_client.send_status("there", "ringing", state=state)
    carrier.placed_calls[first["id"].replace("-", "")] = "there"

    world.run_jobs(acme, include_scheduled=True)

    assert get_call(acme, first)["provider_call_id"] is None
    assert get_call(acme, second)["provider_call_id"] == "there"


def test_a_number_that_the_carrier_rejects_ends_the_call_with_a_reason(
    world: Factory, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    world.run_jobs(acme)
    call = acme.post("/calls", _call_request(number)).json
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="invalid-number"))

    world.run_jobs(acme)

    ended = get_call(acme, call)
    assert (ended["status"], ended["end_reason"]) == ("failed", "invalid_number")


def test_an_outbound_call_with_invalid_fields_or_over_the_limit_is_rejected(
    acme: Tenant, globex: Tenant, platform: Platform, number: dict[str, Any]
) -> None:
    foreign_number = globex.number()
    for body, status, reason in (
        (_call_request(number) | {"to": "+882160000000"}, 409, "dialling-refused"),
        (_call_request(foreign_number), 400, "/from_phone_number_id"),
        (_call_request(number, ai_profile_id=str(uuid4())), 400, "/ai_profile_id"),
        (_call_request(number, metadata={"Bad Name": "x"}), 400, "/metadata"),
    ):
        response = acme.post("/calls", body)

        assert response.status_code == status, response.text
        assert reason in response.text
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 1}})
    assert acme.post("/calls", _call_request(number)).status_code == 202
    over_limit = acme.post("/calls", _call_request(number))
    assert (over_limit.status_code, over_limit.json["code"]) == (409, "limit-reached")


def test_two_requests_with_one_idempotency_key_create_one_call(
    acme: Tenant, number: dict[str, Any]
) -> None:
    body, headers = _call_request(number), {"Idempotency-Key": uuid4().hex}

    first = acme.post("/calls", body, headers=headers)
    second = acme.post("/calls", body, headers=headers)

    assert first.json == second.json
    assert len(acme.get("/calls").json) == 1
