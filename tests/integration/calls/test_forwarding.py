"""Forwards: checked by the tenant's policy, and counted once however often the call rings."""

import pytest
from sqlalchemy import select

from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core.models import OutboundLeg


@pytest.fixture
def desk_number() -> str:
    """Whom calls are forwarded to."""
    return fresh_number()


@pytest.fixture
def number(acme: Tenant, desk_number: str) -> str:
    """A number that forwards."""
    acme.patch("/settings", {"sentences": {"fallback": "Please call again."}})
    found: str = acme.number(mode="forward", forward_to=desk_number)["did_number"]
    return found


def _forwards(tenant: Tenant) -> list[str]:
    with tenant_session(tenant.ref) as session:
        return [leg.number for leg in session.scalars(select(OutboundLeg))]


def test_a_forward_is_counted_once_though_the_call_rings_twice(
    carrier_client: CarrierClient, call_record: CallRecord, number: str, desk_number: str
) -> None:
    first, again = (carrier_client.ring(number, "call-1") for _ in range(2))

    assert first == again
    assert first["actions"] == [{"type": "forward", "number": desk_number}]
    assert call_record.end_state == ("completed", "transferred")
    assert _forwards(call_record.tenant) == [desk_number]


def test_a_forward_that_the_policy_refuses_is_not_made_however_often_the_call_rings(
    carrier_client: CarrierClient, call_record: CallRecord, world: Factory, number: str
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")

    first = carrier_client.ring(number, "call-1")
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = NULL")
    again = carrier_client.ring(number, "call-1")

    assert first == again
    assert action_types(first) == ["say", "hang_up"]
    assert spoken_text(first) == "Please call again."
    assert call_record.end_state == ("completed", "declined")
    assert call_record.call["route"]["rules"][-1]["rule"] == "dialling"
    assert _forwards(call_record.tenant) == []


def test_over_the_limit_the_fallback_number_is_counted_once_too(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, desk_number: str
) -> None:
    acme.patch("/settings", {"sentences": {"over_limit": "All lines are busy."}})
    acme.profile()
    number = acme.number(fallback_number=desk_number)["did_number"]
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 0}'")

    first, again = (carrier_client.ring(number, "call-1") for _ in range(2))

    assert first == again
    assert spoken_text(first) == "All lines are busy."
    assert first["actions"][-1] == {"type": "forward", "number": desk_number}
    assert CallRecord(acme).end_state == ("failed", "concurrency_limit")
    assert _forwards(acme) == [desk_number]
