"""A live call is transferred, sent keys, spoken into, hung up and reconciled with its carrier."""

from typing import Any
from uuid import uuid4

import pytest

from tests.integration.tenant.call_control.conftest import SALES, get_call
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Capabilities


def _live_call_updates(carrier: FakeTelephonyAdapter) -> list[list[str]]:
    """Return the action types of each update of a live call that the carrier received."""
    updates = [
        arguments["actions"] for operation, arguments in carrier.operations if operation == "direct"
    ]
    return [[action["type"] for action in actions] for actions in updates]


# --- Transfers ---


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
    assert get_call(acme, call)["status"] == "in_progress"
    assert _live_call_updates(carrier) == []


def test_a_carrier_failure_leaves_the_caller_with_the_agent(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no", permanent=True))

    response = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert response.status_code == 502
    assert get_call(acme, call)["status"] == "in_progress"


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


# --- Keys ---


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


# --- Texts that the agent speaks ---


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


# --- Commands and retention ---


def test_the_hangup_command_ends_every_live_call_of_a_tenant(
    world: Factory,
    acme: Tenant,
    globex: Tenant,
    number: dict[str, Any],
    carrier_client: CarrierClient,
) -> None:
    globex.profile()
    foreign_number = globex.number()
    for called_number, name in ((number, "one"), (number, "two"), (foreign_number, "other")):
        carrier_client.ring(called_number["did_number"], f"{name}-{uuid4().hex}")

    result = world.app.test_cli_runner().invoke(
        args=["calls", "hangup", "--tenant", acme.id, "--json"]
    )

    assert (result.exit_code, result.stdout.strip()) == (0, '{"ended":2,"failed":0}')
    assert [call["end_reason"] for call in acme.get("/calls").json] == ["api_hangup"] * 2
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
    assert get_call(acme, call)["end_reason"] == "lost"


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
    assert get_call(acme, call)["end_reason"] == "api_hangup"
