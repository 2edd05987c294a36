"""The spend cap holds when many ring at once: what calls reserve is counted one after the other."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Factory, Platform, Tenant
from tests.support.usage import record_usage
from vca.kit import clock
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

RINGS, MINUTE = 200, 12


@pytest.fixture
def number(acme: Tenant) -> str:
    """A number that an agent answers; the included minutes are used up."""
    acme.profile(greeting="Acme here.")
    record_usage(acme, 6_000)
    found: str = acme.number()["did_number"]
    return found


def _ring_all(world: Factory, carrier: FakeTelephonyAdapter, number: str) -> dict[str, str]:
    """The token of each call that was answered, of so many that ring at once."""

    def ring(name: str) -> tuple[str, str | None]:
        answer = CarrierClient(carrier, world.api(None)).ring(number, name)
        return name, answer["state"] if action_types(answer) == ["say", "listen"] else None

    with ThreadPoolExecutor(20) as threads:
        found = threads.map(ring, [f"call-{place}" for place in range(RINGS)])
    return {name: state for name, state in found if state is not None}


@pytest.mark.parametrize(("concurrent", "answered"), [(5, 5), (10_000, 8)])
def test_of_two_hundred_rings_no_more_are_answered_than_lines_and_cap_allow(
    world: Factory,
    carrier: FakeTelephonyAdapter,
    acme: Tenant,
    platform: Platform,
    number: str,
    concurrent: int,
    answered: int,
) -> None:
    settings = {"limits": {"concurrent_calls": concurrent}, "spend_cap": 7 * MINUTE + 1}
    platform.api.patch(acme.url("/settings"), settings)

    live = _ring_all(world, carrier, number)

    assert len(live) == answered
    standing = acme.get("/usage").json
    assert standing["reserved"] == answered * MINUTE
    reasons = Counter(call["end_reason"] for call in acme.get("/calls").json)
    assert set(reasons) <= {None, "spend_cap", "concurrency_limit"}


def test_calls_that_end_while_others_ring_overrun_the_cap_by_no_more_than_one_each(
    world: Factory, carrier: FakeTelephonyAdapter, acme: Tenant, platform: Platform, number: str
) -> None:
    lines, cap = 5, 20 * MINUTE
    settings = {"limits": {"concurrent_calls": lines}, "spend_cap": cap}
    platform.api.patch(acme.url("/settings"), settings)

    def call(name: str) -> bool:
        """A call of a minute and a half, as its carrier tells; whether it was answered."""
        line, now = CarrierClient(carrier, world.api(None)), clock.now()
        answer = line.ring(number, name)
        if action_types(answer) != ["say", "listen"]:
            return False
        for status, ago_s in (("answered", 95), ("completed", 5)):
            at = (now - timedelta(seconds=ago_s)).isoformat()
            line.send_status(name, status, state=answer["state"], at=at)
        return True

    with ThreadPoolExecutor(20) as threads:
        answered = sum(threads.map(call, [f"call-{place}" for place in range(RINGS)]))

    standing = acme.get("/usage").json
    spoken = answered * len("Acme here.") * 2_000  # millionths, beside the seconds
    assert standing["amount_millionths"] == answered * 18 * 1_000_000 + spoken
    assert cap <= standing["spent"] < cap + lines * 18
    assert standing["reserved"] == 0
