"""Calls outside opening hours: the response to the carrier and the stored call."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant, fresh_number
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

ALWAYS_CLOSED_HOURS: dict[str, Any] = {"weekly": {}}


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return a client that sends the fake carrier's webhooks."""
    return CarrierClient(carrier, anonymous)


def _get_only_call(tenant: Tenant) -> tuple[str, str, str]:
    """Return status, end reason and routing decision of the tenant's only call."""
    [call] = tenant.get("/calls").json
    return call["status"], call["end_reason"], call["route"]["decision"]


def test_a_caller_outside_opening_hours_hears_the_closing_sentence(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.patch(
        "/settings", {"hours": ALWAYS_CLOSED_HOURS, "sentences": {"closed": "Back at nine."}}
    )
    acme.profile()

    response = carrier_client.ring(acme.number()["did_number"], "night-1")

    assert [action["type"] for action in response["actions"]] == ["say", "hang_up"]
    assert response["actions"][0]["text"] == "Back at nine."
    assert _get_only_call(acme) == ("completed", "closed", "closed")


def test_a_call_outside_opening_hours_is_forwarded_if_the_hours_say_so(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    target_number = fresh_number()
    number = acme.number(
        hours={**ALWAYS_CLOSED_HOURS, "closed_action": "forward"}, forward_to=target_number
    )

    response = carrier_client.ring(number["did_number"], "night-1")

    assert response["actions"] == [{"type": "forward", "number": target_number}]
    assert _get_only_call(acme) == ("completed", "transferred", "forward")


def test_the_hours_of_a_number_override_those_of_the_tenant(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.patch("/settings", {"hours": ALWAYS_CLOSED_HOURS})
    acme.profile()

    response = carrier_client.ring(acme.number(hours={})["did_number"], "day-1")

    assert [action["type"] for action in response["actions"]] == ["say", "listen"]
