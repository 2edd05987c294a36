"""Tests of the usage ledger: facts, reversals, plan versions, and threshold events."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.support import admin_db
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Platform, Tenant
from tests.support.services import app_services
from tests.support.usage import record_usage, reported_usage, usage_facts
from vca.kit import clock
from vca.kit.errors import NotFound
from vca.registry.usage.rating import KINDS
from vca.tenancy.session import tenant_session
from vca.tenant.usage import ledger
from vca.tenant.usage.ledger import NotReversible

# The starter plan: 12 cents a minute, in millionths of a cent, after 100 included minutes.
PRICE_PER_SECOND, INCLUDED_SECONDS = 200_000, 6_000


def _reached_thresholds(tenant: Tenant) -> list[tuple[str, int]]:
    events = tenant.get("/events", type="usage.threshold_reached").json
    return [(event["data"]["measure"], event["data"]["percent"]) for event in events]


def test_a_fact_is_stored_with_its_price_and_plan(acme: Tenant, globex: Tenant) -> None:
    fact = record_usage(acme, INCLUDED_SECONDS + 30)

    [row] = usage_facts(acme)
    assert row["id"] == fact.id
    assert (row["quantity"], row["included"]) == (INCLUDED_SECONDS + 30, INCLUDED_SECONDS)
    assert (row["unit_price"], row["price_per"]) == (12_000_000, 60)
    assert row["amount"] == 30 * PRICE_PER_SECOND
    assert (row["plan"], row["plan_version"]) == ("starter", 1)
    assert usage_facts(globex) == []


def test_a_repeated_key_does_not_change_the_fact(acme: Tenant) -> None:
    record_usage(acme, 60, key="call:1:agent")
    record_usage(acme, 60, key="call:1:agent")
    record_usage(acme, 600, key="call:1:agent")

    assert [fact["quantity"] for fact in usage_facts(acme)] == [60]
    assert reported_usage(acme, "call_seconds") == (60, 60, 0)


def test_a_key_recorded_concurrently_is_one_fact_with_one_price(acme: Tenant) -> None:
    record_usage(acme, INCLUDED_SECONDS, key="before")

    run_concurrently(
        [partial(record_usage, acme, 60, key=f"call:{number % 4}") for number in range(12)]
    )

    assert len(usage_facts(acme)) == 5
    assert reported_usage(acme, "call_seconds") == (
        INCLUDED_SECONDS + 240,
        INCLUDED_SECONDS,
        240 * PRICE_PER_SECOND,
    )


@pytest.mark.parametrize(
    "statement", ["UPDATE usage_facts SET quantity = 1", "DELETE FROM usage_facts"]
)
def test_stored_facts_cannot_be_changed_or_deleted(acme: Tenant, statement: str) -> None:
    record_usage(acme, 60)

    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.execute(text(statement))

    assert [fact["quantity"] for fact in usage_facts(acme)] == [60]


def test_a_fact_is_reversed_once_by_a_negative_fact(acme: Tenant) -> None:
    record_usage(acme, INCLUDED_SECONDS - 30)
    wrong_fact = record_usage(acme, 60)

    with tenant_session(acme.ref, database=app_services().database) as session:
        reversal_id = ledger.reverse(session, fact_id=wrong_fact.id)
    for fact_id in (wrong_fact.id, reversal_id):
        with (
            pytest.raises(NotReversible),
            tenant_session(acme.ref, database=app_services().database) as session,
        ):
            ledger.reverse(session, fact_id=fact_id)

    [reversal] = [fact for fact in usage_facts(acme) if fact["reverses"] == wrong_fact.id]
    assert (reversal["quantity"], reversal["included"]) == (-60, -30)
    assert reversal["amount"] == -30 * PRICE_PER_SECOND
    assert reported_usage(acme, "call_seconds") == (INCLUDED_SECONDS - 30, INCLUDED_SECONDS - 30, 0)
    record_usage(acme, 60)  # the reversal has restored the included seconds
    assert reported_usage(acme, "call_seconds") == (
        INCLUDED_SECONDS + 30,
        INCLUDED_SECONDS,
        30 * PRICE_PER_SECOND,
    )


def test_a_fact_of_another_tenant_cannot_be_reversed(acme: Tenant, globex: Tenant) -> None:
    globex_fact = record_usage(globex, 60)

    for fact_id in (globex_fact.id, uuid4()):
        with (
            pytest.raises(NotFound),
            tenant_session(acme.ref, database=app_services().database) as session,
        ):
            ledger.reverse(session, fact_id=fact_id)

    assert len(usage_facts(globex)) == 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 10**7), st.booleans()), max_size=8
    )
)
def test_all_reported_amounts_are_sums_of_the_facts(
    world: Factory, platform: Platform, entries: list[tuple[str, int, bool]]
) -> None:
    tenant = world.tenant()

    for kind, quantity, is_reversed in entries:
        fact = record_usage(tenant, quantity, kind=kind)
        if is_reversed:
            with tenant_session(tenant.ref, database=app_services().database) as session:
                ledger.reverse(session, fact_id=fact.id)

    total = sum(fact["amount"] for fact in usage_facts(tenant))
    report = tenant.get("/usage").json
    platform_reports = platform.api.get("/api/usage", tenant_id=tenant.id).json
    assert report["amount_millionths"] == total
    assert sum(group["amount_millionths"] for group in report["groups"]) == total
    assert report["amount"] == report["spent"] == -(-total // 1_000_000)
    assert [platform_report["amount_millionths"] for platform_report in platform_reports] == [
        total
    ] * bool(entries)


# --- Versions of plans -----------------------------------------------------------------------


def test_a_new_plan_version_rates_only_later_usage(acme: Tenant, globex: Tenant) -> None:
    record_usage(acme, INCLUDED_SECONDS + 60)
    before = usage_facts(acme)
    document = (
        '{"currency": "USD", "limits": {"concurrent_calls": 2}, "included": {}, "prices": {}}'
    )
    with admin_db.public_session() as session:
        session.execute(
            text("INSERT INTO public.plans VALUES ('starter', 2, now(), CAST(:document AS jsonb))"),
            {"document": document},
        )
    try:
        record_usage(acme, 60)

        [later_fact] = [fact for fact in usage_facts(acme) if fact not in before]
        assert (later_fact["plan_version"], later_fact["amount"]) == (2, 0)
        assert [fact for fact in usage_facts(acme) if fact != later_fact] == before
        assert reported_usage(acme, "call_seconds") == (
            INCLUDED_SECONDS + 120,
            INCLUDED_SECONDS,
            60 * PRICE_PER_SECOND,
        )
        assert acme.get("/usage").json["plan_version"] == 2
    finally:
        with admin_db.public_session() as session:
            session.execute(text("DELETE FROM public.plans WHERE version > 1"))


def test_a_new_plan_rates_only_later_usage(acme: Tenant, platform: Platform) -> None:
    record_usage(acme, INCLUDED_SECONDS + 60)
    platform.api.patch(acme.url(), {"plan": "custom"})

    record_usage(acme, 60)

    assert reported_usage(acme, "call_seconds")[2] == 60 * PRICE_PER_SECOND + 60 * 150_000
    assert {fact["plan"] for fact in usage_facts(acme)} == {"starter", "custom"}


# --- Thresholds ------------------------------------------------------------------------------


def test_each_threshold_of_the_included_usage_emits_one_event(acme: Tenant, globex: Tenant) -> None:
    record_usage(acme, INCLUDED_SECONDS // 2 - 1)
    assert _reached_thresholds(acme) == []

    record_usage(acme, 1)
    assert _reached_thresholds(acme) == [("included_seconds", 50)]

    record_usage(acme, INCLUDED_SECONDS)
    record_usage(acme, INCLUDED_SECONDS)
    assert _reached_thresholds(acme) == [("included_seconds", percent) for percent in (50, 80, 100)]
    assert _reached_thresholds(globex) == []


def test_each_threshold_of_the_spend_cap_emits_an_event_with_the_amount(acme: Tenant) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    record_usage(acme, INCLUDED_SECONDS)
    earlier_count = len(_reached_thresholds(acme))

    record_usage(acme, 250)  # total: 50 cents
    record_usage(acme, 150)  # total: 80 cents
    record_usage(acme, 600)  # total: 200 cents

    assert _reached_thresholds(acme)[earlier_count:] == [
        ("spend_cap", percent) for percent in (50, 80, 100)
    ]
    first_event: dict[str, Any] = acme.get("/events", type="usage.threshold_reached").json[
        earlier_count
    ]["data"]
    assert {"used": 50, "limit": 100, "currency": "USD"}.items() <= first_event.items()


def test_concurrent_usage_emits_one_event_for_each_threshold(acme: Tenant) -> None:
    run_concurrently([partial(record_usage, acme, INCLUDED_SECONDS // 10) for _ in range(10)])

    assert sorted(_reached_thresholds(acme)) == [
        ("included_seconds", percent) for percent in (50, 80, 100)
    ]


def test_rolled_back_usage_is_not_counted_and_emits_no_event(acme: Tenant) -> None:
    class RolledBack(Exception):
        pass

    fact = ledger.Fact("call:1:agent", "call_seconds", INCLUDED_SECONDS, clock.now())

    def record_and_roll_back() -> None:
        with tenant_session(acme.ref, database=app_services().database) as session:
            ledger.record_facts(session, fact)
            raise RolledBack

    with pytest.raises(RolledBack):
        record_and_roll_back()

    assert usage_facts(acme) == []
    assert reported_usage(acme, "call_seconds") == (0, 0, 0)
    assert _reached_thresholds(acme) == []
