"""A carrier delivers twice, and at once: one call, one event, words in one order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.carrier_client import CarrierClient
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

MakeLine = Callable[[], CarrierClient]


@pytest.fixture
def make_carrier_client(world: Factory, carrier: FakeTelephonyAdapter) -> MakeLine:
    """A line for each thread."""
    return lambda: CarrierClient(carrier, world.api(None))


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


def _only_call(tenant: Tenant) -> dict[str, Any]:
    [call] = tenant.get("/calls").json
    return dict(call)


def _kinds(tenant: Tenant, call: dict[str, Any]) -> list[str]:
    return [event["event_type"] for event in tenant.get(f"/calls/{call['id']}/events").json]


def _turns(tenant: Tenant, call: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get(f"/calls/{call['id']}/turns").json
    return found


def test_one_ring_delivered_ten_times_at_once_is_one_call(
    make_carrier_client: MakeLine, acme: Tenant, answered_number: str
) -> None:
    answers = run_concurrently(
        [partial(make_carrier_client().ring, answered_number, "race-1") for _ in range(10)]
    )

    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["actions"][0]["text"] == "Acme here."
    call = _only_call(acme)
    assert _kinds(acme, call) == ["RINGING", "ANSWERED"]
    assert [turn["text"] for turn in _turns(acme, call)] == ["Acme here."]


def test_ten_calls_at_once_are_ten_calls(
    make_carrier_client: MakeLine, acme: Tenant, answered_number: str
) -> None:
    run_concurrently(
        [
            partial(make_carrier_client().ring, answered_number, f"race-{number}")
            for number in range(10)
        ]
    )

    assert len(acme.get("/calls").json) == 10


def test_two_turns_of_one_call_at_once_are_both_heard_and_both_answered(
    make_carrier_client: MakeLine, acme: Tenant, answered_number: str
) -> None:
    state = make_carrier_client().ring(answered_number, "race-1")["state"]

    answers = run_concurrently(
        [
            partial(make_carrier_client().say, "race-1", state, words)
            for words in ("I am Jane.", "My tooth hurts.")
        ]
    )

    for answer in answers:
        assert [action["type"] for action in answer["actions"]] == ["say", "listen"]
    turns = _turns(acme, _only_call(acme))
    assert [turn["sequence"] for turn in turns] == [1, 2, 3, 4, 5]
    assert sorted(turn["speaker"] for turn in turns) == ["agent"] * 3 + ["caller"] * 2
    said = {turn["text"] for turn in turns if turn["speaker"] == "caller"}
    assert said == {"I am Jane.", "My tooth hurts."}


def test_one_status_delivered_ten_times_at_once_is_one_event(
    make_carrier_client: MakeLine, acme: Tenant, answered_number: str
) -> None:
    state = make_carrier_client().ring(answered_number, "race-1")["state"]
    at = "2099-11-22T18:02:00+00:00"

    run_concurrently(
        [partial(make_carrier_client().send_status, "race-1", "completed", state=state, at=at)] * 10
    )

    call = _only_call(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert _kinds(acme, call) == ["RINGING", "ANSWERED", "ENDED"]


def test_a_turn_and_the_hang_up_at_once_leave_a_call_that_is_over(
    make_carrier_client: MakeLine, acme: Tenant, answered_number: str
) -> None:
    for attempt in range(5):
        call_id = f"race-{attempt}"
        state = make_carrier_client().ring(answered_number, call_id)["state"]

        run_concurrently(
            [
                partial(make_carrier_client().say, call_id, state, "Are you there?"),
                partial(make_carrier_client().send_status, call_id, "completed", state=state),
            ]
        )

    for call in acme.get("/calls").json:
        assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
        sequences = [turn["sequence"] for turn in _turns(acme, call)]
        assert sequences == list(range(1, len(sequences) + 1))
