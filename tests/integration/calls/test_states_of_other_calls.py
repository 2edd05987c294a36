"""State tokens count for the one call of the carrier that they were made for."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.integration.calls.conftest import CallRecord
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.kit import clock
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState, WebSocketClaims
from vca.tenant.calls.core.call_types import CallRef

ACTIONS = ("speech", "keys", "more", "leg", "voicemail", "recording", "interrupted", "status")


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


def _send_all(client: CarrierClient, call_id: str, state: str) -> set[int]:
    """Send each kind of event with this state; return the status codes."""
    fields = {"text": "Goodbye", "keys": "1", "outcome": "answered", "status": "completed"}
    return {
        client.send(
            client.build_request(action, call_id=call_id, state=state, **fields)
        ).status_code
        for action in ACTIONS
    }


@pytest.mark.parametrize("call_id", ["its own tenant's", "another tenant's", "an unknown call's"])
def test_a_state_is_refused_to_another_call(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, database_url: str, call_id: str
) -> None:
    for tenant in (acme, globex):
        tenant.profile(greeting="Hello.", end_phrases=["goodbye"])
    acme_number, globex_number = (t.number()["did_number"] for t in (acme, globex))
    state = carrier_client.ring(acme_number, "call-1")["state"]
    carrier_client.ring(acme_number, "its own tenant's")
    carrier_client.ring(globex_number, "another tenant's")
    checker = SnapshotChecker(database_url)
    before = [checker.checksum(tenant.id) for tenant in (acme, globex)]

    assert _send_all(carrier_client, call_id, state) == {400}

    assert [checker.checksum(tenant.id) for tenant in (acme, globex)] == before
    checker.close()


def test_the_state_of_a_call_that_is_placed_counts_for_its_first_events_only(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    acme.profile(greeting="Hello.", end_phrases=["goodbye"])
    carrier_client.ring(acme.number()["did_number"], "call-1")
    ref = CallRef(acme.ref, UUID(call_record.call["id"]))
    state = call_tokens.sign_state(
        CallState(ref, provider_call_id=None, turns=1), services=app_services()
    )

    for action in ACTIONS[:-1]:
        request = carrier_client.build_request(
            action, call_id="call-1", state=state, text="Goodbye", keys="1", outcome="busy"
        )
        assert carrier_client.send(request).status_code == 400, action
    carrier_client.send_status("call-2", "completed", state=state)

    assert call_record.end_state == ("in_progress", None)
    assert call_record.transcript == ["agent: Hello."]


def test_the_token_of_a_websockets_url_is_no_state(
    carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    acme.profile(greeting="Hello.", end_phrases=["goodbye"])
    carrier_client.ring(acme.number()["did_number"], "call-1")
    slot = uuid4()
    claims = WebSocketClaims(
        CallRef(acme.ref, UUID(call_record.call["id"])),
        ProviderAccountRef("fake"),
        slot,
        clock.now() + timedelta(seconds=60),
    )

    token = call_tokens.sign_websocket(claims, services=app_services())

    assert _send_all(carrier_client, "call-1", token) == {400}
    assert _send_all(carrier_client, slot.hex, token) == {400}
    assert call_record.transcript == ["agent: Hello."]
