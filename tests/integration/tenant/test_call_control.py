"""Control of live calls over the API and the command line, and outbound calls.

A live call is transferred, sent keys, spoken into, hung up and reconciled with its carrier.
"""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Api
from tests.support.carrier_client import BASE_PATH, CarrierClient
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Capabilities

SALES = "+442079460999"


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def number(acme: Tenant) -> dict[str, Any]:
    """Return a number whose agent has a transfer target."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": SALES}})
    return acme.number()


@pytest.fixture
def call(carrier_client: CarrierClient, acme: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    """Start a call to the number and return its representation."""
    carrier_client.ring(number["did_number"], f"live-{uuid4().hex}")
    live_call: dict[str, Any] = acme.get("/calls").json[0]
    return live_call


def _get_call(tenant: Tenant, call: dict[str, Any]) -> dict[str, Any]:
    representation: dict[str, Any] = tenant.get(f"/calls/{call['id']}").json
    return representation


def _live_call_updates(carrier: FakeTelephonyAdapter) -> list[list[str]]:
    """Return the action types of each update of a live call that the carrier received."""
    updates = [
        arguments["actions"] for operation, arguments in carrier.operations if operation == "direct"
    ]
    return [[action["type"] for action in actions] for actions in updates]


def _call_request(number: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"to": fresh_number(), "from_phone_number_id": number["id"], **fields}


# Transfers


def test_a_live_call_is_transferred_to_a_named_target(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    response = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert (response.status_code, response.json["status"]) == (202, "transferring")
    assert _live_call_updates(carrier) == [["transfer"]]
    [(_, arguments)] = [operation for operation in carrier.operations if operation[0] == "direct"]
    assert arguments["actions"][0]["number"] == SALES


def test_a_target_that_the_profile_does_not_define_is_rejected(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    for target in ("support", SALES):
        response = acme.post(f"/calls/{call['id']}/transfer", {"target": target})

        assert (response.status_code, response.json["code"]) == (409, "unknown-target")
    assert _live_call_updates(carrier) == []


def test_a_target_that_the_dial_policy_denies_is_rejected(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})

    response = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert (response.status_code, response.json["code"]) == (409, "dialling-refused")
    assert _get_call(acme, call)["status"] == "in_progress"
    assert _live_call_updates(carrier) == []


def test_a_carrier_failure_leaves_the_caller_with_the_agent(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no", permanent=True))

    response = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert response.status_code == 502
    assert _get_call(acme, call)["status"] == "in_progress"


def test_a_transferring_or_ended_call_cannot_be_transferred(
    acme: Tenant, call: dict[str, Any]
) -> None:
    path = f"/calls/{call['id']}/transfer"
    acme.post(path, {"target": "sales"})

    repeated = acme.post(path, {"target": "sales"})
    acme.post(f"/calls/{call['id']}/hangup")
    after_hang_up = acme.post(path, {"target": "sales"})

    assert (repeated.status_code, repeated.json["code"]) == (409, "call-not-in-progress")
    assert (after_hang_up.status_code, after_hang_up.json["code"]) == (409, "call-ended")


# Keys


def test_keys_are_sent_to_the_call_and_the_agent_listens_again(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter, carrier_client: CarrierClient
) -> None:
    response = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "12*#"})

    assert (response.status_code, response.json["status"]) == (200, "in_progress")
    assert _live_call_updates(carrier) == [["send_keys", "listen"]]
    [(_, arguments)] = [operation for operation in carrier.operations if operation[0] == "direct"]
    assert arguments["actions"][0]["keys"] == "12*#"
    reply = carrier_client.say(call["provider_call_id"], arguments["state"], "Thank you.")
    assert reply["state"] is not None
    assert "12*#" not in acme.get(f"/calls/{call['id']}/turns").text


@pytest.mark.parametrize("digits", ["", "12a", "1" * 33, "١", "1\n", 12, None])
def test_invalid_digits_are_rejected(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter, digits: object
) -> None:
    response = acme.post(f"/calls/{call['id']}/dtmf", {"digits": digits})

    assert (response.status_code, response.json["errors"][0]["pointer"]) == (400, "/digits")
    assert _live_call_updates(carrier) == []


def test_a_carrier_that_cannot_send_keys_returns_409(
    acme: Tenant,
    call: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeTelephonyAdapter, "capabilities", Capabilities(send_keys=False))

    response = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "1"})

    assert (response.status_code, response.json["code"]) == (409, "carrier-cannot")
    assert _live_call_updates(carrier) == []


def test_keys_return_502_if_the_carrier_fails_and_409_after_the_call(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("away", permanent=False))

    failed = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "1"})
    acme.post(f"/calls/{call['id']}/hangup")
    ended = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "1"})

    assert (failed.status_code, failed.json["code"]) == (502, "carrier-failed")
    assert (ended.status_code, ended.json["code"]) == (409, "call-ended")


# Texts that the agent speaks


def test_a_text_spoken_into_a_call_is_stored_as_a_turn(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    response = acme.post(f"/calls/{call['id']}/say", {"text": "Your table is ready."})

    assert response.status_code == 200
    assert _live_call_updates(carrier) == [["say", "listen"]]
    turns = acme.get(f"/calls/{call['id']}/turns").json
    assert [turn["text"] for turn in turns] == ["Acme here.", "Your table is ready."]


def test_a_text_that_the_carrier_fails_to_speak_is_not_stored(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no", permanent=False))

    response = acme.post(f"/calls/{call['id']}/say", {"text": "Your table is ready."})

    assert response.status_code == 502
    assert len(acme.get(f"/calls/{call['id']}/turns").json) == 1


# Outbound calls


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
    call = _get_call(acme, response.json)
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
    assert _get_call(acme, call)["provider_call_id"] == "placed-there"


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

    assert _get_call(acme, call)["provider_call_id"] == "there"


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
    assert _get_call(acme, first)["provider_call_id"] == "there"

    carrier_client.send_status("there", "ringing", state=state)

    assert _get_call(acme, first)["provider_call_id"] is None
    assert _get_call(acme, second)["provider_call_id"] == "there"


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

    assert _get_call(acme, first)["provider_call_id"] is None
    assert _get_call(acme, second)["provider_call_id"] == "there"


def test_a_number_that_the_carrier_rejects_ends_the_call_with_a_reason(
    world: Factory, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    world.run_jobs(acme)
    call = acme.post("/calls", _call_request(number)).json
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="invalid-number"))

    world.run_jobs(acme)

    ended = _get_call(acme, call)
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


# Commands and retention


def test_the_hangup_command_ends_every_live_call_of_a_tenant(
    world: Factory,
    acme: Tenant,
    globex: Tenant,
    number: dict[str, Any],
    carrier_client: CarrierClient,
) -> None:
    globex.profile()
    foreign_number = globex.number()
    for called_number, name in ((number, "one"), (foreign_number, "other")):
        carrier_client.ring(called_number["did_number"], f"{name}-{uuid4().hex}")

    result = world.app.test_cli_runner().invoke(
        args=["calls", "hangup", "--tenant", acme.id, "--json"]
    )

    assert (result.exit_code, result.stdout.strip()) == (0, '{"ended":1,"failed":0}')
    assert acme.get("/calls").json[0]["end_reason"] == "api_hangup"
    assert globex.get("/calls").json[0]["status"] == "in_progress"


def test_reconciling_ends_a_call_that_the_carrier_does_not_know(
    world: Factory, acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    run_command = world.app.test_cli_runner().invoke
    carrier.live_calls.add(call["provider_call_id"])
    first = run_command(args=["calls", "reconcile", "--tenant", acme.id, "--json"])
    carrier.live_calls.clear()
    second = run_command(args=["calls", "reconcile", "--tenant", acme.id, "--json"])

    assert first.stdout.strip() == '{"live":1,"ended":0,"unknown":0}'
    assert second.stdout.strip() == '{"live":0,"ended":1,"unknown":0}'
    assert _get_call(acme, call)["end_reason"] == "lost"


def test_the_transcript_is_deleted_after_its_retention_period(
    world: Factory, acme: Tenant, call: dict[str, Any]
) -> None:
    acme.post(f"/calls/{call['id']}/hangup")
    acme.patch("/settings", {"retention_days": {"transcripts": 1}})
    world.run_jobs(acme)
    turns_before = acme.get(f"/calls/{call['id']}/turns").json
    world.sql(acme, "UPDATE calls SET ended_at = now() - interval '2 days'")

    world.run_jobs(acme, include_scheduled=True)

    assert len(turns_before) == 1
    assert acme.get(f"/calls/{call['id']}/turns").json == []
    assert _get_call(acme, call)["end_reason"] == "api_hangup"
