"""The ledger: a fact once, nothing ever changed, a reversal once, each threshold once."""

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
from tests.support.usage import record_usage, reported_usage, usage_facts
from vca.kit import clock
from vca.kit.errors import NotFound
from vca.registry.usage.rating import KINDS
from vca.tenancy.session import tenant_session
from vca.tenant.usage import ledger
from vca.tenant.usage.ledger import NotReversible

# A starter's: 12 cents a minute, 100 minutes included.
SECOND, INCLUDED = 200_000, 6_000


def _thresholds(tenant: Tenant) -> list[tuple[str, int]]:
    told = tenant.get("/events", type="usage.threshold_reached").json
    return [(event["data"]["measure"], event["data"]["percent"]) for event in told]


def test_a_fact_is_kept_with_what_it_was_rated_by(acme: Tenant, globex: Tenant) -> None:
    fact = record_usage(acme, INCLUDED + 30)

    [kept] = usage_facts(acme)
    assert kept["id"] == fact.id
    assert (kept["quantity"], kept["included"]) == (INCLUDED + 30, INCLUDED)
    assert (kept["unit_price"], kept["price_per"]) == (12_000_000, 60)
    assert kept["amount"] == 30 * SECOND
    assert (kept["plan"], kept["plan_version"]) == ("starter", 1)
    assert usage_facts(globex) == []


def test_a_fact_noted_again_is_the_same_fact_however_much_it_says(acme: Tenant) -> None:
    record_usage(acme, 60, key="call:1:agent")
    record_usage(acme, 60, key="call:1:agent")
    record_usage(acme, 600, key="call:1:agent")

    assert [fact["quantity"] for fact in usage_facts(acme)] == [60]
    assert reported_usage(acme, "call_seconds") == (60, 60, 0)


def test_one_fact_noted_by_many_at_once_is_one_and_so_is_its_price(acme: Tenant) -> None:
    record_usage(acme, INCLUDED, key="before")

    run_concurrently(
        [partial(record_usage, acme, 60, key=f"call:{number % 4}") for number in range(12)]
    )

    assert len(usage_facts(acme)) == 5
    assert reported_usage(acme, "call_seconds") == (INCLUDED + 240, INCLUDED, 240 * SECOND)


@pytest.mark.parametrize(
    "statement", ["UPDATE usage_facts SET quantity = 1", "DELETE FROM usage_facts"]
)
def test_what_is_in_the_ledger_stays_as_it_is(acme: Tenant, statement: str) -> None:
    record_usage(acme, 60)

    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_session(acme.ref) as session,
    ):
        session.execute(text(statement))

    assert [fact["quantity"] for fact in usage_facts(acme)] == [60]


def test_a_fact_is_taken_back_by_its_negative_once(acme: Tenant) -> None:
    record_usage(acme, INCLUDED - 30)
    wrong = record_usage(acme, 60)

    with tenant_session(acme.ref) as session:
        reversal_id = ledger.reverse(session, fact_id=wrong.id)
    for again in (wrong.id, reversal_id):
        with pytest.raises(NotReversible), tenant_session(acme.ref) as session:
            ledger.reverse(session, fact_id=again)

    [negative] = [fact for fact in usage_facts(acme) if fact["reverses"] == wrong.id]
    assert (negative["quantity"], negative["included"]) == (-60, -30)
    assert negative["amount"] == -30 * SECOND
    assert reported_usage(acme, "call_seconds") == (INCLUDED - 30, INCLUDED - 30, 0)
    record_usage(acme, 60)  # what was included of it is there again
    assert reported_usage(acme, "call_seconds") == (INCLUDED + 30, INCLUDED, 30 * SECOND)


def test_anothers_fact_cannot_be_taken_back(acme: Tenant, globex: Tenant) -> None:
    theirs = record_usage(globex, 60)

    for fact_id in (theirs.id, uuid4()):
        with pytest.raises(NotFound), tenant_session(acme.ref) as session:
            ledger.reverse(session, fact_id=fact_id)

    assert len(usage_facts(globex)) == 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noted=st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 10**7), st.booleans()), max_size=8
    )
)
def test_all_that_is_shown_is_the_sum_of_the_facts(
    world: Factory, platform: Platform, noted: list[tuple[str, int, bool]]
) -> None:
    tenant = world.tenant()

    for kind, quantity, taken_back in noted:
        fact = record_usage(tenant, quantity, kind=kind)
        if taken_back:
            with tenant_session(tenant.ref) as session:
                ledger.reverse(session, fact_id=fact.id)

    total = sum(fact["amount"] for fact in usage_facts(tenant))
    shown = tenant.get("/usage").json
    by_operator = platform.api.get("/api/usage", tenant_id=tenant.id).json
    assert shown["amount_millionths"] == total
    assert sum(group["amount_millionths"] for group in shown["groups"]) == total
    assert shown["amount"] == shown["spent"] == -(-total // 1_000_000)
    assert [each["amount_millionths"] for each in by_operator] == [total] * bool(noted)


# --- Versions of plans -----------------------------------------------------------------------


def test_a_new_version_rates_what_comes_and_never_what_was(acme: Tenant, globex: Tenant) -> None:
    record_usage(acme, INCLUDED + 60)
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

        [later] = [fact for fact in usage_facts(acme) if fact not in before]
        assert (later["plan_version"], later["amount"]) == (2, 0)
        assert [fact for fact in usage_facts(acme) if fact != later] == before
        assert reported_usage(acme, "call_seconds") == (INCLUDED + 120, INCLUDED, 60 * SECOND)
        assert acme.get("/usage").json["plan_version"] == 2
    finally:
        with admin_db.public_session() as session:
            session.execute(text("DELETE FROM public.plans WHERE version > 1"))


def test_another_plan_rates_from_then_on(acme: Tenant, platform: Platform) -> None:
    record_usage(acme, INCLUDED + 60)
    platform.api.patch(acme.url(), {"plan": "custom"})

    record_usage(acme, 60)

    assert reported_usage(acme, "call_seconds")[2] == 60 * SECOND + 60 * 150_000
    assert {fact["plan"] for fact in usage_facts(acme)} == {"starter", "custom"}


# --- Thresholds ------------------------------------------------------------------------------


def test_each_threshold_of_what_is_included_is_told_once(acme: Tenant, globex: Tenant) -> None:
    record_usage(acme, INCLUDED // 2 - 1)
    assert _thresholds(acme) == []

    record_usage(acme, 1)
    assert _thresholds(acme) == [("included_seconds", 50)]

    record_usage(acme, INCLUDED)
    record_usage(acme, INCLUDED)
    assert _thresholds(acme) == [("included_seconds", percent) for percent in (50, 80, 100)]
    assert _thresholds(globex) == []


def test_each_threshold_of_the_cap_is_told_with_what_was_spent(acme: Tenant) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    record_usage(acme, INCLUDED)
    told = len(_thresholds(acme))

    record_usage(acme, 250)  # 50 cents
    record_usage(acme, 150)  # 80
    record_usage(acme, 600)  # 200

    assert _thresholds(acme)[told:] == [("spend_cap", percent) for percent in (50, 80, 100)]
    first: dict[str, Any] = acme.get("/events", type="usage.threshold_reached").json[told]["data"]
    assert {"used": 50, "limit": 100, "currency": "USD"}.items() <= first.items()


def test_a_threshold_is_told_once_by_many_who_reach_it_at_once(acme: Tenant) -> None:
    run_concurrently([partial(record_usage, acme, INCLUDED // 10) for _ in range(10)])

    assert sorted(_thresholds(acme)) == [("included_seconds", each) for each in (50, 80, 100)]


def test_what_is_rolled_back_is_neither_counted_nor_told(acme: Tenant) -> None:
    class Undone(Exception):
        pass

    fact = ledger.Fact("call:1:agent", "call_seconds", INCLUDED, clock.now())

    def undo() -> None:
        with tenant_session(acme.ref) as session:
            ledger.record_facts(session, fact)
            raise Undone

    with pytest.raises(Undone):
        undo()

    assert usage_facts(acme) == []
    assert reported_usage(acme, "call_seconds") == (0, 0, 0)
    assert _thresholds(acme) == []
