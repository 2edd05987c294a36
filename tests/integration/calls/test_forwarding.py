"""Forwards: the tenant's dialling policy applies, and repeated requests count a forward once."""

import pytest
from sqlalchemy import select

from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core.models import OutboundLeg


@pytest.fixture
def target_number() -> str:
    """Return the number that calls are forwarded to."""
    return fresh_number()


@pytest.fixture
def number(acme: Tenant, target_number: str) -> str:
    """Create a number of acme that forwards its calls."""
    acme.patch("/settings", {"sentences": {"fallback": "Please call again."}})
    did_number: str = acme.number(mode="forward", forward_to=target_number)["did_number"]
    return did_number


def _list_forwarded_numbers(tenant: Tenant) -> list[str]:
    """Return the numbers of the tenant's outbound legs."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return [leg.number for leg in session.scalars(select(OutboundLeg))]


def test_a_repeated_request_does_not_count_the_forward_twice(
    carrier_client: CarrierClient, call_record: CallRecord, number: str, target_number: str
) -> None:
    first, repeated = (carrier_client.ring(number, "call-1") for _ in range(2))

    assert first == repeated
    assert first["actions"] == [{"type": "forward", "number": target_number}]
    assert call_record.end_state == ("completed", "transferred")
    assert _list_forwarded_numbers(call_record.tenant) == [target_number]


def test_a_repeated_request_does_not_make_a_rejected_forward(
    carrier_client: CarrierClient, call_record: CallRecord, world: Factory, number: str
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")

    first = carrier_client.ring(number, "call-1")
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = NULL")
    repeated = carrier_client.ring(number, "call-1")

    assert first == repeated
    assert action_types(first) == ["say", "hang_up"]
    assert spoken_text(first) == "Please call again."
    assert call_record.end_state == ("completed", "declined")
    assert call_record.call["route"]["rules"][-1]["rule"] == "dialling"
    assert _list_forwarded_numbers(call_record.tenant) == []


def test_a_forward_to_the_fallback_number_over_the_limit_is_counted_once(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, target_number: str
) -> None:
    acme.patch("/settings", {"sentences": {"over_limit": "All lines are busy."}})
    acme.profile()
    number = acme.number(fallback_number=target_number)["did_number"]
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 0}'")

    first, repeated = (carrier_client.ring(number, "call-1") for _ in range(2))

    assert first == repeated
    assert spoken_text(first) == "All lines are busy."
    assert first["actions"][-1] == {"type": "forward", "number": target_number}
    assert CallRecord(acme).end_state == ("failed", "concurrency_limit")
    assert _list_forwarded_numbers(acme) == [target_number]
