"""The spend cap with many concurrent calls: their reservations are counted one after the other."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Factory, Platform, Tenant
from tests.support.usage import record_usage
from vca.kit import clock
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

CALL_COUNT, CENTS_PER_MINUTE = 200, 12


@pytest.fixture
def number(acme: Tenant) -> str:
    """Return a number that an agent answers; the included minutes are used up."""
    acme.profile(greeting="Acme here.")
    record_usage(acme, 6_000)
    number: str = acme.number()["did_number"]
    return number


def _ring_concurrently(
    world: Factory, carrier: FakeTelephonyAdapter, number: str
) -> dict[str, str]:
    """Start CALL_COUNT calls; return the state token of each call that was answered."""

    def ring(call_id: str) -> tuple[str, str | None]:
        response = CarrierClient(carrier, world.api(None)).ring(number, call_id)
        is_answered = action_types(response) == ["say", "listen"]
        return call_id, response["state"] if is_answered else None

    with ThreadPoolExecutor(20) as threads:
        states = threads.map(ring, [f"call-{index}" for index in range(CALL_COUNT)])
    return {call_id: state for call_id, state in states if state is not None}


@pytest.mark.parametrize(("concurrent", "answered"), [(5, 5), (10_000, 8)])
def test_concurrent_calls_exceed_neither_the_call_limit_nor_the_spend_cap(
    world: Factory,
    carrier: FakeTelephonyAdapter,
    acme: Tenant,
    platform: Platform,
    number: str,
    concurrent: int,
    answered: int,
) -> None:
    settings = {
        "limits": {"concurrent_calls": concurrent},
        "spend_cap": 7 * CENTS_PER_MINUTE + 1,
    }
    platform.api.patch(acme.url("/settings"), settings)

    live_calls = _ring_concurrently(world, carrier, number)

    assert len(live_calls) == answered
    usage = acme.get("/usage").json
    assert usage["reserved"] == answered * CENTS_PER_MINUTE
    reasons = Counter(call["end_reason"] for call in acme.get("/calls").json)
    assert set(reasons) <= {None, "spend_cap", "concurrency_limit"}


def test_each_concurrent_call_overruns_the_cap_by_at_most_its_cost(
    world: Factory, carrier: FakeTelephonyAdapter, acme: Tenant, platform: Platform, number: str
) -> None:
    max_calls, cap = 5, 20 * CENTS_PER_MINUTE
    settings = {"limits": {"concurrent_calls": max_calls}, "spend_cap": cap}
    platform.api.patch(acme.url("/settings"), settings)

    def make_call(call_id: str) -> bool:
        """Make a call that lasts 90 seconds by its carrier's events; return whether it succeeds."""
        client, now = CarrierClient(carrier, world.api(None)), clock.now()
        response = client.ring(number, call_id)
        if action_types(response) != ["say", "listen"]:
            return False
        world.sql(
            acme,
            "UPDATE calls SET started_at = started_at - interval '100 s', answered_at = NULL"
            f" WHERE provider_call_id = '{call_id}'",
        )
        for status, age_s in (("answered", 95), ("completed", 5)):
            event_at = (now - timedelta(seconds=age_s)).isoformat()
            client.send_status(call_id, status, state=response["state"], at=event_at)
        return True

    with ThreadPoolExecutor(20) as threads:
        answered = sum(threads.map(make_call, [f"call-{index}" for index in range(CALL_COUNT)]))

    usage = acme.get("/usage").json
    speech_millionths = answered * len("Acme here.") * 2_000  # charged in addition to the seconds
    assert usage["amount_millionths"] == answered * 18 * 1_000_000 + speech_millionths
    assert cap <= usage["spent"] < cap + max_calls * 18
    assert usage["reserved"] == 0
