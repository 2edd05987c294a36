"""A carrier's call over HTTP: routed, held, ended; written once, whatever comes twice or late."""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.carrier_client import CALLER, CarrierClient
from tests.support.factories import Platform, Tenant, fresh_number
from vca.registry.number_registry import service as dids
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import public_session


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


def _events(tenant: Tenant, call: Mapping[str, Any]) -> list[str]:
    return [event["event_type"] for event in tenant.get(f"/calls/{call['id']}/events").json]


def _turns(tenant: Tenant, call: Mapping[str, Any]) -> list[str]:
    return [turn["text"] for turn in tenant.get(f"/calls/{call['id']}/turns").json]


def _misses(number: str) -> int:
    with public_session() as session:
        return sum(
            miss.misses for miss in dids.list_unrouted_numbers(session) if miss.did_number == number
        )


# --- A call -------------------------------------------------------------------------------------


def test_a_genuine_ring_is_answered_by_the_agent_and_recorded(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    answer = carrier_client.ring(answered_number, "ring-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "listen"]
    assert answer["actions"][0]["text"] == "Acme here."
    [call] = _calls(acme)
    assert (call["status"], call["provider_call_id"]) == ("in_progress", "ring-1")
    assert (call["caller_number"], call["caller_id"]) == (CALLER, "shown")
    assert (call["provider_type"], call["called_number"]) == ("fake", answered_number)
    assert _events(acme, call) == ["RINGING", "ANSWERED"]


def test_a_call_is_held_and_ended_over_http(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    answer = carrier_client.ring(answered_number, "held-1")

    reply = carrier_client.say("held-1", answer["state"], "I need an appointment.")
    bye = carrier_client.say("held-1", reply["state"], "Goodbye!")
    over = carrier_client.say("held-1", reply["state"], "Are you there?")

    assert [action["type"] for action in reply["actions"]] == ["say", "listen"]
    assert [action["type"] for action in bye["actions"]] == ["say", "hang_up"]
    assert bye["state"] is None
    assert [action["type"] for action in over["actions"]] == ["hang_up"]
    [call] = _calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "agent_hangup")
    assert len(_turns(acme, call)) == 5


@pytest.mark.parametrize(
    ("caller", "caller_id"),
    [("anonymous", "withheld"), (None, "unavailable"), ("110", "other"), ("☎ <b>", "other")],
)
def test_a_caller_without_a_number_is_answered_like_any_other(
    carrier_client: CarrierClient,
    acme: Tenant,
    answered_number: str,
    caller: str | None,
    caller_id: str,
) -> None:
    answer = carrier_client.ring(answered_number, "odd-1", caller)

    assert answer["actions"][0]["text"] == "Acme here."
    [call] = _calls(acme)
    assert (call["caller_number"], call["caller_id"]) == (None, caller_id)


def test_a_replayed_ring_is_the_same_call_with_the_same_words(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    answers = [carrier_client.ring(answered_number, "twice-1") for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    [call] = _calls(acme)
    assert _events(acme, call) == ["RINGING", "ANSWERED"]
    assert _turns(acme, call) == ["Acme here."]


def test_a_replayed_ring_has_the_words_of_the_first_though_the_greeting_has_changed(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    first = carrier_client.ring(answered_number, "changed-1")
    [profile] = acme.get("/ai-profiles").json
    acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "Acme has moved."})

    again = carrier_client.ring(answered_number, "changed-1")
    other = carrier_client.ring(answered_number, "changed-2")

    assert again == first
    assert other["actions"][0]["text"] == "Acme has moved."


def test_two_carriers_calls_of_one_name_at_two_tenants_are_two_calls(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, answered_number: str
) -> None:
    globex.profile(greeting="Globex here.")
    other = globex.number()["did_number"]

    assert carrier_client.ring(answered_number, "same-1")["actions"][0]["text"] == "Acme here."
    assert carrier_client.ring(other, "same-1")["actions"][0]["text"] == "Globex here."

    assert len(_calls(acme)) == len(_calls(globex)) == 1


# --- Statuses -----------------------------------------------------------------------------------

TIMES = {
    "ringing": "2026-11-22T17:59:50+00:00",
    "answered": "2026-11-22T17:59:55+00:00",
    "completed": "2099-11-22T18:02:00+00:00",
}


def test_status_events_in_any_order_and_twice_end_in_the_same_row(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    for number, order in enumerate(permutations(TIMES)):
        call_id = f"order-{number}"
        state = carrier_client.ring(answered_number, call_id)["state"]
        for status in (*order, *order):
            said = {"state": state, "at": TIMES[status]}
            assert carrier_client.send_status(call_id, status, **said)["actions"] == []

    columns = ("status", "end_reason", "started_at", "answered_at", "ended_at", "duration_seconds")
    rows = {tuple(call[column] for column in columns) for call in _calls(acme)}
    assert len(_calls(acme)) == 6
    [row] = rows
    assert row[:2] == ("completed", "caller_hangup")
    assert row[2].startswith("2026-11-22T17:59:50")
    assert row[3].startswith("2026-11-22T17:59:55")
    for call in _calls(acme):
        assert sorted(_events(acme, call)) == ["ANSWERED"] * 2 + ["ENDED"] + ["RINGING"] * 2


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ("completed", "ringing", ("completed", "caller_hangup")),
        ("completed", "failed", ("completed", "caller_hangup")),
        ("busy", "answered", ("completed", "busy")),
        ("no_answer", "no_answer", ("completed", "no_answer")),
    ],
)
def test_a_call_that_is_over_stays_over(
    carrier_client: CarrierClient,
    acme: Tenant,
    answered_number: str,
    first: str,
    then: str,
    expected: tuple[str, str],
) -> None:
    state = carrier_client.ring(answered_number, "over-1")["state"]

    carrier_client.send_status("over-1", first, state=state, code="17")
    carrier_client.send_status("over-1", then, state=state)

    [call] = _calls(acme)
    assert (call["status"], call["end_reason"]) == expected
    assert call["ended_at"] is not None


def test_of_two_ends_that_are_told_the_earlier_counts_in_either_order(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    told = {"completed": "2099-11-22T18:02:00+00:00", "cancelled": "2099-11-22T18:01:00+00:00"}
    for number, order in enumerate(permutations(told)):
        state = carrier_client.ring(answered_number, f"end-{number}")["state"]
        for status in order:
            carrier_client.send_status(f"end-{number}", status, state=state, at=told[status])

    assert [call["ended_at"] for call in _calls(acme)] == ["2099-11-22T18:01:00Z"] * 2


def test_a_status_without_a_token_finds_its_call_by_the_number(
    carrier_client: CarrierClient, acme: Tenant, answered_number: str
) -> None:
    carrier_client.ring(answered_number, "plain-1")

    carrier_client.send_status("plain-1", "completed", to=answered_number, code="16")

    [call] = _calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert call["end_detail"] == "16"


def test_a_status_of_a_call_that_nobody_knows_is_taken_and_changes_nothing(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, answered_number: str
) -> None:
    carrier_client.ring(answered_number, "known-1")
    other = globex.number()["did_number"]

    assert carrier_client.send_status("unknown-1", "completed", to=answered_number)["actions"] == []
    assert carrier_client.send_status("known-1", "completed", to=other)["actions"] == []
    assert carrier_client.send_status("known-1", "completed", to=fresh_number())["actions"] == []
    assert carrier_client.send_status("known-1", "completed")["actions"] == []

    assert [call["status"] for call in _calls(acme)] == ["in_progress"]
    assert _calls(globex) == []


# --- Numbers that no agent answers --------------------------------------------------------------


def _only_call(tenant: Tenant) -> tuple[str, str, str]:
    [call] = _calls(tenant)
    return call["status"], call["end_reason"], call["route"]["decision"]


def test_a_number_that_nobody_has_is_politely_refused_and_counted(
    carrier_client: CarrierClient,
) -> None:
    number = fresh_number()

    answers = [carrier_client.ring(number, f"lost-{attempt}") for attempt in range(2)]

    for answer in answers:
        assert answer["actions"] == [{"type": "reject", "reason": "rejected"}]
        assert answer["state"] is None
    assert _misses(number) == 2


@pytest.mark.parametrize("number", ["", "110", "sip:desk@acme.example.com", "x" * 64, "+0"])
def test_a_called_number_of_any_form_is_refused_politely(
    carrier_client: CarrierClient, number: str
) -> None:
    assert carrier_client.ring(number, "form-1")["actions"][0]["type"] == "reject"


def test_a_number_that_is_only_assigned_is_nobodys_yet(
    carrier_client: CarrierClient, platform: Platform, acme: Tenant
) -> None:
    number = fresh_number()
    platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})

    assert carrier_client.ring(number, "promised-1")["actions"][0]["type"] == "reject"
    assert _calls(acme) == []
    assert _misses(number) == 1


def test_a_resting_number_is_refused_and_the_missed_call_is_recorded(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    answer = carrier_client.ring(number["did_number"], "resting-1")

    assert answer["actions"] == [{"type": "reject", "reason": "rejected"}]
    assert _only_call(acme) == ("failed", "number_inactive", "refused")
    assert _misses(number["did_number"]) == 0


def test_an_inactive_number_is_refused_and_recorded(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number(is_active=False)

    assert carrier_client.ring(number["did_number"], "inactive-1")["actions"][0]["type"] == "reject"
    assert _only_call(acme) == ("failed", "number_inactive", "refused")


def test_a_suspended_tenants_callers_hear_its_sentence(
    carrier_client: CarrierClient, platform: Platform, acme: Tenant, answered_number: str
) -> None:
    acme.patch("/settings", {"sentences": {"suspended": "We are away."}})
    platform.api.patch(acme.url(), {"status": "suspended"})

    answer = carrier_client.ring(answered_number, "suspended-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert answer["actions"][0]["text"] == "We are away."
    assert _only_call(acme) == ("failed", "tenant_suspended", "refused")


def test_a_deleted_tenants_number_is_nobodys(
    carrier_client: CarrierClient, platform: Platform, acme: Tenant, answered_number: str
) -> None:
    platform.api.patch(acme.url(), {"status": "deleted"})

    assert carrier_client.ring(answered_number, "deleted-1")["actions"][0]["type"] == "reject"
    assert _misses(answered_number) == 1

    platform.api.patch(acme.url(), {"status": "active"})
    assert _calls(acme) == []
    assert carrier_client.ring(answered_number, "deleted-2")["actions"][0]["text"] == "Acme here."


def test_a_closed_number_says_so(carrier_client: CarrierClient, acme: Tenant) -> None:
    acme.profile()
    acme.patch("/settings", {"sentences": {"closed": "Come back tomorrow."}})
    number = acme.number(mode="closed")

    answer = carrier_client.ring(number["did_number"], "closed-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert answer["actions"][0]["text"] == "Come back tomorrow."
    assert answer["state"] is None
    assert _only_call(acme) == ("completed", "closed", "closed")


def test_a_forwarding_number_forwards(carrier_client: CarrierClient, acme: Tenant) -> None:
    desk = fresh_number()
    number = acme.number(mode="forward", forward_to=desk)

    answer = carrier_client.ring(number["did_number"], "forward-1")

    assert answer["actions"] == [{"type": "forward", "number": desk}]
    assert _only_call(acme) == ("completed", "transferred", "forward")


def test_a_number_without_any_profile_says_a_sentence(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    number = acme.number()

    answer = carrier_client.ring(number["did_number"], "bare-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert "sorry" in answer["actions"][0]["text"]
    assert _only_call(acme) == ("failed", "declined", "refused")


def test_a_replayed_ring_of_a_refused_call_is_one_row_with_the_same_answer(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    number = acme.number(mode="closed")["did_number"]

    first, again = carrier_client.ring(number, "again-1"), carrier_client.ring(number, "again-1")

    assert first == again
    assert len(_calls(acme)) == 1
