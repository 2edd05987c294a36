"""The tenant's lines: as many calls at once as its limit, however many ring."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.integration.calls.conftest import RealCallerCarrier
from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Platform, Tenant
from vca.kit import clock
from vca.telephony.types import Caller, CallEvent, CallMetadata, ProviderAccountRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import authentication
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_types import InboundCall
from vca.tenant.calls.turns import call_flow, call_start

LIMIT, ATTEMPTS = 10, 1_000


@pytest.fixture
def number(acme: Tenant, platform: Platform) -> str:
    """A number of a tenant that may have ten calls at once."""
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": LIMIT}})
    acme.profile(greeting="Acme here.")
    found: str = acme.number()["did_number"]
    return found


def _ringing(number: str, carrier: RealCallerCarrier) -> InboundCall:
    owner = authentication.find_number_owner(number)
    assert owner is not None
    metadata = CallMetadata(
        owner.tenant.id, owner.phone_number_id, None, number, "inbound", clock.now(), uuid4().hex
    )
    event = carrier.on_inbound_call(metadata)
    fake = ProviderAccountRef("fake")
    return InboundCall(owner, metadata, Caller(None, "withheld"), event, fake, simulated=False)


def test_of_a_thousand_calls_at_once_never_more_than_ten_live(
    acme: Tenant, real_carrier: RealCallerCarrier, number: str
) -> None:
    ringing = _ringing(number, real_carrier)
    live: list[int] = []

    def call(attempt: int) -> str:
        at = ringing.metadata.timestamp
        event = CallEvent("RINGING", f"call-{attempt}", at, f"ring-{attempt}")
        begun = call_start.start_inbound_call(replace(ringing, event=event))
        if begun.turns is None:
            return "refused"
        assert begun.ref is not None
        with tenant_session(acme.ref) as session:  # there are never more than after an answer
            live.append(record.live_call_count(session))
        if attempt % 3 == 0:  # a part hangs up again and makes room
            end = CallEvent("ENDED", event.call_id, clock.now(), "end", "caller_hangup")
            call_flow.apply_call_event(begun.ref, event=end)
        return "answered"

    with ThreadPoolExecutor(20) as threads:
        found = Counter(threads.map(call, range(ATTEMPTS)))

    with tenant_session(acme.ref) as session:
        assert record.live_call_count(session) == LIMIT
    assert max(live) == LIMIT
    assert found["answered"] > LIMIT
    assert found.total() == ATTEMPTS


def test_a_call_that_ends_frees_its_line_at_once(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    states = [carrier_client.ring(number, f"call-{place}")["state"] for place in range(LIMIT)]
    assert action_types(carrier_client.ring(number, "one-more")) == ["say", "hang_up"]

    carrier_client.send_status("call-3", "completed", state=states[3])

    assert action_types(carrier_client.ring(number, "another")) == ["say", "listen"]
    assert action_types(carrier_client.ring(number, "and-another")) == ["say", "hang_up"]


def test_anothers_calls_and_rehearsals_take_no_line(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, number: str
) -> None:
    globex.profile()
    other = globex.number()["did_number"]
    for place in range(2):
        carrier_client.ring(other, f"call-{place}")

    for place in range(LIMIT):
        assert action_types(carrier_client.ring(number, f"mine-{place}")) == ["say", "listen"]

    assert action_types(carrier_client.ring(other, "third")) == [
        "say",
        "hang_up",
    ]  # a starter has two
