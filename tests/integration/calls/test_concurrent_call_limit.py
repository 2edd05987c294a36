"""A tenant's limit of concurrent calls."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.integration.calls.conftest import RealCallerCarrier
from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Platform, Tenant
from tests.support.services import app_services
from vca.kit import clock
from vca.telephony.types import Caller, CallEvent, CallMetadata, ProviderAccountRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import authentication
from vca.tenant.calls.core import live_usage
from vca.tenant.calls.core.call_types import InboundCall
from vca.tenant.calls.turns import call_flow, call_start

LIMIT, ATTEMPTS = 10, 1_000


@pytest.fixture
def number(acme: Tenant, platform: Platform) -> str:
    """Return a number of a tenant that may have LIMIT concurrent calls."""
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": LIMIT}})
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


def _build_inbound_call(number: str, carrier: RealCallerCarrier) -> InboundCall:
    owner = authentication.find_number_owner(number, services=app_services())
    assert owner is not None
    metadata = CallMetadata(
        owner.tenant.id, owner.phone_number_id, None, number, "inbound", clock.now(), uuid4().hex
    )
    event = carrier.on_inbound_call(metadata)
    account = ProviderAccountRef("fake")
    return InboundCall(owner, metadata, Caller(None, "withheld"), event, account, simulated=False)


def test_at_most_ten_of_a_thousand_concurrent_calls_are_live(
    acme: Tenant, real_carrier: RealCallerCarrier, number: str
) -> None:
    inbound_call = _build_inbound_call(number, real_carrier)
    live_counts: list[int] = []

    def make_call(attempt: int) -> str:
        rang_at = inbound_call.metadata.timestamp
        event = CallEvent("RINGING", f"call-{attempt}", rang_at, f"ring-{attempt}")
        response = call_start.start_inbound_call(
            replace(inbound_call, event=event), services=app_services()
        )
        if response.turns is None:
            return "refused"
        assert response.ref is not None
        with tenant_session(
            acme.ref, database=app_services().database
        ) as session:  # the count is highest after a call is answered
            live_counts.append(live_usage.live_usage(session).calls)
        if attempt % 3 == 0:  # some calls end and make room for others
            end = CallEvent("ENDED", event.call_id, clock.now(), "end", "caller_hangup")
            call_flow.apply_call_event(response.ref, event=end, services=app_services())
        return "answered"

    with ThreadPoolExecutor(20) as threads:
        results = Counter(threads.map(make_call, range(ATTEMPTS)))

    with tenant_session(acme.ref, database=app_services().database) as session:
        assert live_usage.live_usage(session).calls == LIMIT
    assert max(live_counts) == LIMIT
    assert results["answered"] > LIMIT
    assert results.total() == ATTEMPTS


def test_a_call_that_ends_makes_room_for_one_other_call(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    states = [carrier_client.ring(number, f"call-{index}")["state"] for index in range(LIMIT)]
    assert action_types(carrier_client.ring(number, "one-more")) == ["say", "hang_up"]

    carrier_client.send_status("call-3", "completed", state=states[3])

    assert action_types(carrier_client.ring(number, "another")) == ["say", "listen"]
    assert action_types(carrier_client.ring(number, "and-another")) == ["say", "hang_up"]


def test_simulations_do_not_count_for_the_limit(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    for _ in range(LIMIT + 1):
        assert acme.simulate(number)["status"] == "in_progress"

    for index in range(LIMIT):
        assert action_types(carrier_client.ring(number, f"call-{index}")) == ["say", "listen"]

    assert action_types(carrier_client.ring(number, "one-more")) == ["say", "hang_up"]
    assert acme.simulate(number)["status"] == "in_progress"


def test_calls_of_other_tenants_do_not_count_for_the_limit(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, number: str
) -> None:
    globex.profile()
    globex_number = globex.number()["did_number"]
    for index in range(2):
        carrier_client.ring(globex_number, f"call-{index}")

    for index in range(LIMIT):
        assert action_types(carrier_client.ring(number, f"mine-{index}")) == ["say", "listen"]

    # The starter plan of globex allows two concurrent calls.
    assert action_types(carrier_client.ring(globex_number, "third")) == ["say", "hang_up"]
