"""A live call in hand: hung up, transferred, spoken into; and calls that we place."""

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
    """A number that an agent answers who knows whom to transfer to."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": SALES}})
    return acme.number()


@pytest.fixture
def call(carrier_client: CarrierClient, acme: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    """A live call."""
    carrier_client.ring(number["did_number"], f"live-{uuid4().hex}")
    found: dict[str, Any] = acme.get("/calls").json[0]
    return found


def _call(tenant: Tenant, call: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/calls/{call['id']}").json
    return found


def _directed(carrier: FakeTelephonyAdapter) -> list[list[str]]:
    asked = [how["actions"] for what, how in carrier.operations if what == "direct"]
    return [[action["type"] for action in actions] for actions in asked]


def _order(number: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"to": fresh_number(), "from_phone_number_id": number["id"], **more}


# --- Transfer -----------------------------------------------------------------------------------


def test_a_live_call_is_transferred_to_a_named_target(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    answer = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert (answer.status_code, answer.json["status"]) == (202, "transferring")
    assert _directed(carrier) == [["transfer"]]
    [(_, how)] = [asked for asked in carrier.operations if asked[0] == "direct"]
    assert how["actions"][0]["number"] == SALES


def test_a_target_that_the_profile_does_not_name_is_refused(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    for target in ("support", SALES):
        answer = acme.post(f"/calls/{call['id']}/transfer", {"target": target})

        assert (answer.status_code, answer.json["code"]) == (409, "unknown-target")
    assert _directed(carrier) == []


def test_what_the_dial_policy_refuses_is_not_transferred(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})

    answer = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert (answer.status_code, answer.json["code"]) == (409, "dialling-refused")
    assert _call(acme, call)["status"] == "in_progress"
    assert _directed(carrier) == []


def test_a_carrier_that_fails_leaves_the_caller_with_the_agent(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no", permanent=True))

    answer = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert answer.status_code == 502
    assert _call(acme, call)["status"] == "in_progress"


def test_a_call_on_its_way_or_over_is_not_transferred_again(
    acme: Tenant, call: dict[str, Any]
) -> None:
    path = f"/calls/{call['id']}/transfer"
    acme.post(path, {"target": "sales"})

    again = acme.post(path, {"target": "sales"})
    acme.post(f"/calls/{call['id']}/hangup")
    over = acme.post(path, {"target": "sales"})

    assert (again.status_code, again.json["code"]) == (409, "call-not-in-progress")
    assert (over.status_code, over.json["code"]) == (409, "call-ended")


# --- Keys -----------------------------------------------------------------------------------------


def test_keys_are_pressed_on_the_line_and_the_agent_listens_again(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter, carrier_client: CarrierClient
) -> None:
    answer = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "12*#"})

    assert (answer.status_code, answer.json["status"]) == (200, "in_progress")
    assert _directed(carrier) == [["send_keys", "listen"]]
    [(_, how)] = [asked for asked in carrier.operations if asked[0] == "direct"]
    assert how["actions"][0]["keys"] == "12*#"
    said = carrier_client.say(call["provider_call_id"], how["state"], "Thank you.")
    assert said["state"] is not None
    assert "12*#" not in acme.get(f"/calls/{call['id']}/turns").text


@pytest.mark.parametrize("digits", ["", "12a", "1" * 33, "١", "1\n", 12, None])
def test_what_is_no_key_is_refused(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter, digits: object
) -> None:
    answer = acme.post(f"/calls/{call['id']}/dtmf", {"digits": digits})

    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (400, "/digits")
    assert _directed(carrier) == []


def test_a_carrier_that_presses_no_keys_is_409(
    acme: Tenant,
    call: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeTelephonyAdapter, "capabilities", Capabilities(send_keys=False))

    answer = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "1"})

    assert (answer.status_code, answer.json["code"]) == (409, "carrier-cannot")
    assert _directed(carrier) == []


def test_no_keys_are_pressed_where_nobody_talks_or_the_carrier_fails(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("away", permanent=False))

    failed = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "1"})
    acme.post(f"/calls/{call['id']}/hangup")
    ended = acme.post(f"/calls/{call['id']}/dtmf", {"digits": "1"})

    assert (failed.status_code, failed.json["code"]) == (502, "carrier-failed")
    assert (ended.status_code, ended.json["code"]) == (409, "call-ended")


# --- Say ----------------------------------------------------------------------------------------


def test_what_is_said_into_a_call_is_a_turn_of_the_agents(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    answer = acme.post(f"/calls/{call['id']}/say", {"text": "Your table is ready."})

    assert answer.status_code == 200
    assert _directed(carrier) == [["say", "listen"]]
    turns = acme.get(f"/calls/{call['id']}/turns").json
    assert [turn["text"] for turn in turns] == ["Acme here.", "Your table is ready."]


def test_what_the_carrier_did_not_say_is_no_turn(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no", permanent=False))

    answer = acme.post(f"/calls/{call['id']}/say", {"text": "Your table is ready."})

    assert answer.status_code == 502
    assert len(acme.get(f"/calls/{call['id']}/turns").json) == 1


# --- Outbound -----------------------------------------------------------------------------------


def test_an_ordered_call_is_dialled_once_answered_and_held(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    answer = acme.post("/calls", _order(number, metadata={"order": "A-1"}))
    world.run_jobs(acme)
    placed = next(how for what, how in carrier.operations if what == "place_call")
    greeted = carrier_client.send(
        carrier.signed_request("answered", BASE_PATH, call_id="placed-1", state=placed["state"])
    ).json
    said = carrier_client.say("placed-1", greeted["state"], "Who is it?")

    assert answer.status_code == 202
    assert answer.headers["Location"].endswith(answer.json["id"])
    assert answer.json["status"] == "queued"
    assert [action["type"] for action in greeted["actions"]] == ["say", "listen"]
    assert said["actions"]
    call = _call(acme, answer.json)
    assert (call["direction"], call["status"]) == ("outbound", "in_progress")
    assert (call["caller_number"], call["metadata"]) == (number["did_number"], {"order": "A-1"})
    assert [what for what, _ in carrier.operations].count("place_call") == 1


def test_an_answer_that_was_lost_is_looked_up_and_never_dialled_twice(
    world: Factory, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    world.run_jobs(acme)
    call = acme.post("/calls", _order(number)).json
    carrier.placed_calls[call["id"].replace("-", "")] = "placed-there"
    carrier.fail_next(TelephonyError("timed out", permanent=False, ambiguous=True))

    world.run_jobs(acme)
    world.run_jobs(acme, include_scheduled=True)

    asked = [what for what, _ in carrier.operations]
    assert asked.count("place_call") == 1
    assert "find_call" in asked
    assert _call(acme, call)["provider_call_id"] == "placed-there"


def _lost(
    world: Factory, tenant: Tenant, carrier: FakeTelephonyAdapter, number: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """A call whose order was not answered, and the token that its carrier has."""
    call = tenant.post("/calls", _order(number)).json
    carrier.fail_next(TelephonyError("timed out", permanent=False, ambiguous=True))
    world.run_jobs(tenant)
    [state] = [how["state"] for what, how in list(carrier.operations)[-1:] if what == "place_call"]
    return call, state


def test_a_call_whose_answer_was_lost_is_known_by_its_first_event(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    world.run_jobs(acme)
    call, state = _lost(world, acme, carrier, number)

    carrier_client.send_status("there", "ringing", state=state)

    assert _call(acme, call)["provider_call_id"] == "there"


def test_a_call_that_was_taken_for_another_is_given_back_by_the_token(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    world.run_jobs(acme)
    (first, _), (second, state) = (_lost(world, acme, carrier, number) for _ in range(2))
    carrier.placed_calls[first["id"].replace("-", "")] = "there"
    world.run_jobs(acme, include_scheduled=True)
    assert _call(acme, first)["provider_call_id"] == "there"

    carrier_client.send_status("there", "ringing", state=state)

    assert _call(acme, first)["provider_call_id"] is None
    assert _call(acme, second)["provider_call_id"] == "there"


def test_what_is_known_to_be_another_call_is_not_taken_for_this_one(
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    carrier_client: CarrierClient,
) -> None:
    world.run_jobs(acme)
    (first, _), (second, state) = (_lost(world, acme, carrier, number) for _ in range(2))
    carrier_client.send_status("there", "ringing", state=state)
    carrier.placed_calls[first["id"].replace("-", "")] = "there"

    world.run_jobs(acme, include_scheduled=True)

    assert _call(acme, first)["provider_call_id"] is None
    assert _call(acme, second)["provider_call_id"] == "there"


def test_a_number_that_the_carrier_refuses_ends_the_call_with_the_reason(
    world: Factory, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    world.run_jobs(acme)
    call = acme.post("/calls", _order(number)).json
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="invalid-number"))

    world.run_jobs(acme)

    ended = _call(acme, call)
    assert (ended["status"], ended["end_reason"]) == ("failed", "invalid_number")


def test_nobody_is_called_beyond_the_policy_the_lines_or_another_tenants_number(
    acme: Tenant, globex: Tenant, platform: Platform, number: dict[str, Any]
) -> None:
    theirs = globex.number()
    for body, status, said in (
        (_order(number) | {"to": "+882160000000"}, 409, "dialling-refused"),
        (_order(theirs), 400, "/from_phone_number_id"),
        (_order(number, ai_profile_id=str(uuid4())), 400, "/ai_profile_id"),
        (_order(number, metadata={"Bad Name": "x"}), 400, "/metadata"),
    ):
        answer = acme.post("/calls", body)

        assert answer.status_code == status, answer.text
        assert said in answer.text
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 1}})
    assert acme.post("/calls", _order(number)).status_code == 202
    over = acme.post("/calls", _order(number))
    assert (over.status_code, over.json["code"]) == (409, "limit-reached")


def test_the_same_order_under_one_key_is_one_call(acme: Tenant, number: dict[str, Any]) -> None:
    body, key = _order(number), {"Idempotency-Key": uuid4().hex}

    first = acme.post("/calls", body, headers=key)
    second = acme.post("/calls", body, headers=key)

    assert first.json == second.json
    assert len(acme.get("/calls").json) == 1


# --- All of them --------------------------------------------------------------------------------


def test_every_live_call_of_a_tenant_is_hung_up_at_the_terminal(
    world: Factory,
    acme: Tenant,
    globex: Tenant,
    number: dict[str, Any],
    carrier_client: CarrierClient,
) -> None:
    globex.profile()
    theirs = globex.number()
    for each, name in ((number, "one"), (theirs, "other")):
        carrier_client.ring(each["did_number"], f"{name}-{uuid4().hex}")

    result = world.app.test_cli_runner().invoke(
        args=["calls", "hangup", "--tenant", acme.id, "--json"]
    )

    assert (result.exit_code, result.stdout.strip()) == (0, '{"ended":1,"failed":0}')
    assert acme.get("/calls").json[0]["end_reason"] == "api_hangup"
    assert globex.get("/calls").json[0]["status"] == "in_progress"


def test_reconciling_ends_what_the_carrier_does_not_know(
    world: Factory, acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    run = world.app.test_cli_runner().invoke
    carrier.live_calls.add(call["provider_call_id"])
    alive = run(args=["calls", "reconcile", "--tenant", acme.id, "--json"])
    carrier.live_calls.clear()
    lost = run(args=["calls", "reconcile", "--tenant", acme.id, "--json"])

    assert alive.stdout.strip() == '{"live":1,"ended":0,"unknown":0}'
    assert lost.stdout.strip() == '{"live":0,"ended":1,"unknown":0}'
    assert _call(acme, call)["end_reason"] == "lost"


def test_what_was_said_is_forgotten_when_its_time_has_come(
    world: Factory, acme: Tenant, call: dict[str, Any]
) -> None:
    acme.post(f"/calls/{call['id']}/hangup")
    acme.patch("/settings", {"retention_days": {"transcripts": 1}})
    world.run_jobs(acme)
    kept = acme.get(f"/calls/{call['id']}/turns").json
    world.sql(acme, "UPDATE calls SET ended_at = now() - interval '2 days'")

    world.run_jobs(acme, include_scheduled=True)

    assert len(kept) == 1
    assert acme.get(f"/calls/{call['id']}/turns").json == []
    assert _call(acme, call)["end_reason"] == "api_hangup"
