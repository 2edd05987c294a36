"""Inbound calls over HTTP: routing, conversation and end; repeated requests write nothing."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.carrier_client import CALLER, CarrierClient
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services
from vca.kit import clock
from vca.registry.number_registry import service as number_registry
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import public_session


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return a client that sends the fake carrier's webhooks."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """Create a number of acme that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    number: str = acme.number()["did_number"]
    return number


def _list_calls(tenant: Tenant) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = tenant.get("/calls").json
    return calls


def _list_event_types(tenant: Tenant, call: Mapping[str, Any]) -> list[str]:
    return [event["event_type"] for event in tenant.get(f"/calls/{call['id']}/events").json]


def _list_turn_texts(tenant: Tenant, call: Mapping[str, Any]) -> list[str]:
    return [turn["text"] for turn in tenant.get(f"/calls/{call['id']}/turns").json]


def _count_unrouted_calls(number: str) -> int:
    with public_session(database=app_services().database) as session:
        return sum(
            unrouted.misses
            for unrouted in number_registry.list_unrouted_numbers(session)
            if unrouted.did_number == number
        )


# --- Conversations -------------------------------------------------------------------------------


def test_an_inbound_call_is_answered_by_the_agent_and_recorded(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    response = carrier_client.ring(answered_number, "ring-1")

    assert [action["type"] for action in response["actions"]] == ["say", "listen"]
    assert response["actions"][0]["text"] == "Acme here."
    [call] = _list_calls(acme)
    assert (call["status"], call["provider_call_id"]) == ("in_progress", "ring-1")
    assert (call["caller_number"], call["caller_id"]) == (CALLER, "shown")
    assert (call["provider_type"], call["called_number"]) == ("fake", answered_number)
    assert _list_event_types(acme, call) == ["RINGING", "ANSWERED"]


def test_a_conversation_over_http_is_recorded_until_its_end(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    response = carrier_client.ring(answered_number, "held-1")

    reply = carrier_client.say("held-1", response["state"], "I need an appointment.")
    goodbye_reply = carrier_client.say("held-1", reply["state"], "Goodbye!")
    late_reply = carrier_client.say("held-1", reply["state"], "Are you there?")

    assert [action["type"] for action in reply["actions"]] == ["say", "listen"]
    assert [action["type"] for action in goodbye_reply["actions"]] == ["say", "hang_up"]
    assert goodbye_reply["state"] is None
    assert [action["type"] for action in late_reply["actions"]] == ["hang_up"]
    [call] = _list_calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "agent_hangup")
    assert len(_list_turn_texts(acme, call)) == 5


@pytest.mark.parametrize(
    ("caller", "caller_id"),
    [("anonymous", "withheld"), (None, "unavailable"), ("110", "other"), ("☎ <b>", "other")],
)
def test_a_caller_without_a_valid_number_is_answered(
    carrier_client: CarrierClient,
    acme: Tenant,
    answered_number: str,
    caller: str | None,
    caller_id: str,
) -> None:
    response = carrier_client.ring(answered_number, "odd-1", caller)

    assert response["actions"][0]["text"] == "Acme here."
    [call] = _list_calls(acme)
    assert (call["caller_number"], call["caller_id"]) == (None, caller_id)


def test_a_repeated_inbound_request_returns_the_same_call_and_greeting(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    responses = [carrier_client.ring(answered_number, "twice-1") for _ in range(3)]

    assert responses[0] == responses[1] == responses[2]
    [call] = _list_calls(acme)
    assert _list_event_types(acme, call) == ["RINGING", "ANSWERED"]
    assert _list_turn_texts(acme, call) == ["Acme here."]


def test_a_repeated_inbound_request_returns_the_greeting_of_the_first(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    first = carrier_client.ring(answered_number, "changed-1")
    [profile] = acme.get("/ai-profiles").json
    acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "Acme has moved."})

    repeated = carrier_client.ring(answered_number, "changed-1")
    second_call = carrier_client.ring(answered_number, "changed-2")

    assert repeated == first
    assert second_call["actions"][0]["text"] == "Acme has moved."


def test_one_carrier_call_id_at_two_tenants_is_two_calls(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, answered_number: str
) -> None:
    globex.profile(greeting="Globex here.")
    globex_number = globex.number()["did_number"]

    assert carrier_client.ring(answered_number, "same-1")["actions"][0]["text"] == "Acme here."
    assert carrier_client.ring(globex_number, "same-1")["actions"][0]["text"] == "Globex here."

    assert len(_list_calls(acme)) == len(_list_calls(globex)) == 1


# --- Statuses ------------------------------------------------------------------------------------

# Seconds since the call began.
STATUS_TIMES_S = {"ringing": 5, "answered": 10, "completed": 90}


def test_repeated_status_events_in_any_order_result_in_the_same_row(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, answered_number: str
) -> None:
    began_at = clock.now() - timedelta(seconds=100)
    row_began = f"TIMESTAMPTZ '{began_at.isoformat()}'"
    for index, order in enumerate(permutations(STATUS_TIMES_S)):
        call_id = f"order-{index}"
        state = carrier_client.ring(answered_number, call_id)["state"]
        world.sql(
            acme,
            f"UPDATE calls SET started_at = {row_began}, answered_at = {row_began}"
            f" WHERE provider_call_id = '{call_id}'",
        )
        for status in (*order, *order):
            reported_at = began_at + timedelta(seconds=STATUS_TIMES_S[status])
            fields = {"state": state, "at": reported_at.isoformat()}
            assert carrier_client.send_status(call_id, status, **fields)["actions"] == []

    columns = ("status", "end_reason", "started_at", "answered_at", "ended_at", "duration_seconds")
    rows = {tuple(call[column] for column in columns) for call in _list_calls(acme)}
    assert len(_list_calls(acme)) == 6
    [row] = rows
    assert row[:2] == ("completed", "caller_hangup")
    assert row[5] == 90
    for call in _list_calls(acme):
        assert (
            sorted(_list_event_types(acme, call)) == ["ANSWERED"] * 2 + ["ENDED"] + ["RINGING"] * 2
        )


@pytest.mark.parametrize(
    ("first_status", "next_status", "expected"),
    [
        ("completed", "ringing", ("completed", "caller_hangup")),
        ("completed", "failed", ("completed", "caller_hangup")),
        ("busy", "answered", ("completed", "busy")),
        ("no_answer", "no_answer", ("completed", "no_answer")),
    ],
)
def test_a_later_status_does_not_change_an_ended_call(
    carrier_client: CarrierClient,
    acme: Tenant,
    answered_number: str,
    first_status: str,
    next_status: str,
    expected: tuple[str, str],
) -> None:
    state = carrier_client.ring(answered_number, "over-1")["state"]

    carrier_client.send_status("over-1", first_status, state=state, code="17")
    carrier_client.send_status("over-1", next_status, state=state)

    [call] = _list_calls(acme)
    assert (call["status"], call["end_reason"]) == expected
    assert call["ended_at"] is not None


def test_the_earlier_of_two_end_times_is_stored_in_either_order(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    now = clock.now()
    earlier, later = ((now + timedelta(seconds=lead_s)).isoformat() for lead_s in (30, 40))
    end_times = {"completed": later, "cancelled": earlier}
    for index, order in enumerate(permutations(end_times)):
        state = carrier_client.ring(answered_number, f"end-{index}")["state"]
        for status in order:
            carrier_client.send_status(f"end-{index}", status, state=state, at=end_times[status])

    ended_at = earlier.replace("+00:00", "Z")
    assert [call["ended_at"] for call in _list_calls(acme)] == [ended_at] * 2


def test_a_status_without_a_token_finds_its_call_by_the_number(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    carrier_client.ring(answered_number, "plain-1")

    carrier_client.send_status("plain-1", "completed", to=answered_number, code="16")

    [call] = _list_calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert call["end_detail"] == "16"


def test_a_status_of_an_unknown_call_is_accepted_and_changes_nothing(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, answered_number: str
) -> None:
    carrier_client.ring(answered_number, "known-1")
    globex_number = globex.number()["did_number"]

    assert carrier_client.send_status("unknown-1", "completed", to=answered_number)["actions"] == []
    assert carrier_client.send_status("known-1", "completed", to=globex_number)["actions"] == []
    assert carrier_client.send_status("known-1", "completed", to=fresh_number())["actions"] == []
    assert carrier_client.send_status("known-1", "completed")["actions"] == []

    assert [call["status"] for call in _list_calls(acme)] == ["in_progress"]
    assert _list_calls(globex) == []


# --- Calls without an agent ----------------------------------------------------------------------


def _get_only_call(tenant: Tenant) -> tuple[str, str, str]:
    """Return status, end reason and routing decision of the tenant's only call."""
    [call] = _list_calls(tenant)
    return call["status"], call["end_reason"], call["route"]["decision"]


def test_a_call_to_an_unassigned_number_is_rejected_and_counted(
    carrier_client: CarrierClient,
) -> None:
    number = fresh_number()

    responses = [carrier_client.ring(number, f"lost-{attempt}") for attempt in range(2)]

    for response in responses:
        assert response["actions"] == [{"type": "reject", "reason": "rejected"}]
        assert response["state"] is None
    assert _count_unrouted_calls(number) == 2


@pytest.mark.parametrize("number", ["", "110", "sip:desk@acme.example.com", "x" * 64, "+0"])
def test_a_call_to_an_invalid_number_is_rejected(
    carrier_client: CarrierClient, number: str
) -> None:
    assert carrier_client.ring(number, "form-1")["actions"][0]["type"] == "reject"


def test_a_call_to_an_assigned_number_before_its_creation_is_rejected(
    carrier_client: CarrierClient, platform: Platform, acme: Tenant
) -> None:
    number = fresh_number()
    platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})

    assert carrier_client.ring(number, "promised-1")["actions"][0]["type"] == "reject"
    assert _list_calls(acme) == []
    assert _count_unrouted_calls(number) == 1


def test_a_call_to_a_quarantined_number_is_rejected_and_recorded(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    response = carrier_client.ring(number["did_number"], "resting-1")

    assert response["actions"] == [{"type": "reject", "reason": "rejected"}]
    assert _get_only_call(acme) == ("failed", "number_inactive", "refused")
    assert _count_unrouted_calls(number["did_number"]) == 0


def test_a_call_to_an_inactive_number_is_rejected_and_recorded(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number(is_active=False)

    assert carrier_client.ring(number["did_number"], "inactive-1")["actions"][0]["type"] == "reject"
    assert _get_only_call(acme) == ("failed", "number_inactive", "refused")


def test_a_caller_of_a_suspended_tenant_hears_its_sentence(
    carrier_client: CarrierClient, platform: Platform, acme: Tenant, answered_number: str
) -> None:
    acme.patch("/settings", {"sentences": {"suspended": "We are away."}})
    platform.api.patch(acme.url(), {"status": "suspended"})

    response = carrier_client.ring(answered_number, "suspended-1")

    assert [action["type"] for action in response["actions"]] == ["say", "hang_up"]
    assert response["actions"][0]["text"] == "We are away."
    assert _get_only_call(acme) == ("failed", "tenant_suspended", "refused")


def test_a_call_to_a_deleted_tenants_number_is_rejected_and_counted(
    carrier_client: CarrierClient, platform: Platform, acme: Tenant, answered_number: str
) -> None:
    platform.api.patch(acme.url(), {"status": "deleted"})

    assert carrier_client.ring(answered_number, "deleted-1")["actions"][0]["type"] == "reject"
    assert _count_unrouted_calls(answered_number) == 1

    platform.api.patch(acme.url(), {"status": "active"})
    assert _list_calls(acme) == []
    assert carrier_client.ring(answered_number, "deleted-2")["actions"][0]["text"] == "Acme here."


def test_a_caller_of_a_closed_number_hears_the_closing_sentence(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    acme.patch("/settings", {"sentences": {"closed": "Come back tomorrow."}})
    number = acme.number(mode="closed")

    response = carrier_client.ring(number["did_number"], "closed-1")

    assert [action["type"] for action in response["actions"]] == ["say", "hang_up"]
    assert response["actions"][0]["text"] == "Come back tomorrow."
    assert response["state"] is None
    assert _get_only_call(acme) == ("completed", "closed", "closed")


def test_a_forwarding_number_forwards_its_calls(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    target_number = fresh_number()
    number = acme.number(mode="forward", forward_to=target_number)

    response = carrier_client.ring(number["did_number"], "forward-1")

    assert response["actions"] == [{"type": "forward", "number": target_number}]
    assert _get_only_call(acme) == ("completed", "transferred", "forward")


def test_a_caller_of_a_number_without_a_profile_hears_an_apology(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    number = acme.number()

    response = carrier_client.ring(number["did_number"], "bare-1")

    assert [action["type"] for action in response["actions"]] == ["say", "hang_up"]
    assert "sorry" in response["actions"][0]["text"]
    assert _get_only_call(acme) == ("failed", "declined", "refused")


def test_a_repeated_request_for_a_closed_number_returns_the_same_response(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    number = acme.number(mode="closed")["did_number"]

    first, repeated = (carrier_client.ring(number, "again-1") for _ in range(2))

    assert first == repeated
    assert len(_list_calls(acme)) == 1
