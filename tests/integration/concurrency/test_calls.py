"""Concurrent webhooks of a carrier: one call, one event and one order of turns."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.carrier_client import CarrierClient
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant
from tests.support.sent_sql import record_sent_sql
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.routing import number_config

MakeCarrierClient = Callable[[], CarrierClient]


@pytest.fixture
def make_carrier_client(world: Factory, carrier: FakeTelephonyAdapter) -> MakeCarrierClient:
    """Return a function that creates a carrier client, because each thread needs one."""
    return lambda: CarrierClient(carrier, world.api(None))


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """Return a number of acme that an agent answers."""
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


def _get_only_call(tenant: Tenant) -> dict[str, Any]:
    [call] = tenant.get("/calls").json
    return dict(call)


def _list_event_types(tenant: Tenant, call: dict[str, Any]) -> list[str]:
    return [event["event_type"] for event in tenant.get(f"/calls/{call['id']}/events").json]


def _list_turns(tenant: Tenant, call: dict[str, Any]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = tenant.get(f"/calls/{call['id']}/turns").json
    return turns


def test_ten_concurrent_deliveries_of_one_inbound_call_create_one_call(
    make_carrier_client: MakeCarrierClient, acme: Tenant, answered_number: str
) -> None:
    responses = run_concurrently(
        [partial(make_carrier_client().ring, answered_number, "race-1") for _ in range(10)]
    )

    assert all(response == responses[0] for response in responses)
    assert responses[0]["actions"][0]["text"] == "Acme here."
    call = _get_only_call(acme)
    assert _list_event_types(acme, call) == ["RINGING", "ANSWERED"]
    assert [turn["text"] for turn in _list_turns(acme, call)] == ["Acme here."]


def test_an_inbound_call_takes_three_round_trips(
    make_carrier_client: MakeCarrierClient, answered_number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call_id in ("first-1", "first-2"):  # opens the connections, and prepares the look-up
        make_carrier_client().ring(answered_number, call_id)
    with record_sent_sql(monkeypatch) as round_trips:
        make_carrier_client().ring(answered_number, "third-1")

    owner_look_up, configuration, insertion = round_trips
    assert owner_look_up[0].startswith("EXECUTE")
    assert configuration[0].startswith("BEGIN")
    assert insertion[-1] == "COMMIT"


def test_a_request_that_did_not_see_the_call_of_another_one_is_answered_as_a_repetition(
    make_carrier_client: MakeCarrierClient,
    acme: Tenant,
    answered_number: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first_response = make_carrier_client().ring(answered_number, "race-1")
    load_for_call, unseen_ids = number_config.load_for_call, []

    def load_without_the_call(*arguments: Any, **options: Any) -> Any:
        config, call_id, live = load_for_call(*arguments, **options)
        unseen_ids.append(call_id)
        return config, None if len(unseen_ids) == 1 else call_id, live

    monkeypatch.setattr(number_config, "load_for_call", load_without_the_call)
    response = make_carrier_client().ring(answered_number, "race-1")

    call = _get_only_call(acme)
    assert [str(call_id) for call_id in unseen_ids] == [call["id"]] * 2
    assert response == first_response
    assert _list_event_types(acme, call) == ["RINGING", "ANSWERED"]
    assert len(_list_turns(acme, call)) == 1
    emitted_types = [event["type"] for event in acme.get("/events").json]
    assert emitted_types.count("call.answered") == 1


def test_ten_concurrent_inbound_calls_create_ten_calls(
    make_carrier_client: MakeCarrierClient, acme: Tenant, answered_number: str
) -> None:
    run_concurrently(
        [
            partial(make_carrier_client().ring, answered_number, f"race-{number}")
            for number in range(10)
        ]
    )

    assert len(acme.get("/calls").json) == 10


def test_two_concurrent_utterances_of_one_call_are_both_stored_and_answered(
    make_carrier_client: MakeCarrierClient, acme: Tenant, answered_number: str
) -> None:
    state = make_carrier_client().ring(answered_number, "race-1")["state"]

    responses = run_concurrently(
        [
            partial(make_carrier_client().say, "race-1", state, utterance)
            for utterance in ("I am Jane.", "My tooth hurts.")
        ]
    )

    for response in responses:
        assert [action["type"] for action in response["actions"]] == ["say", "listen"]
    turns = _list_turns(acme, _get_only_call(acme))
    assert [turn["sequence"] for turn in turns] == [1, 2, 3, 4, 5]
    assert sorted(turn["speaker"] for turn in turns) == ["agent"] * 3 + ["caller"] * 2
    utterances = {turn["text"] for turn in turns if turn["speaker"] == "caller"}
    assert utterances == {"I am Jane.", "My tooth hurts."}


def test_ten_concurrent_deliveries_of_one_status_store_one_event(
    make_carrier_client: MakeCarrierClient, acme: Tenant, answered_number: str
) -> None:
    state = make_carrier_client().ring(answered_number, "race-1")["state"]
    ended_at = "2099-11-22T18:02:00+00:00"
    send_status = partial(
        make_carrier_client().send_status, "race-1", "completed", state=state, at=ended_at
    )

    run_concurrently([send_status] * 10)

    call = _get_only_call(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert _list_event_types(acme, call) == ["RINGING", "ANSWERED", "ENDED"]


def test_a_call_ends_after_a_concurrent_utterance_and_hang_up(
    make_carrier_client: MakeCarrierClient, acme: Tenant, answered_number: str
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
        sequences = [turn["sequence"] for turn in _list_turns(acme, call)]
        assert sequences == list(range(1, len(sequences) + 1))
