"""Calls outside opening hours, from the ring to the record."""

import pytest

from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant, fresh_number
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

NEVER = {"weekly": {}}


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """The fake carrier's line into the product."""
    return CarrierClient(carrier, anonymous)


def _only_call(tenant: Tenant) -> tuple[str, str, str]:
    [call] = tenant.get("/calls").json
    return call["status"], call["end_reason"], call["route"]["decision"]


def test_who_calls_at_night_hears_the_closing_sentence(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.patch("/settings", {"hours": NEVER, "sentences": {"closed": "Back at nine."}})
    acme.profile()

    answer = carrier_client.ring(acme.number()["did_number"], "night-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert answer["actions"][0]["text"] == "Back at nine."
    assert _only_call(acme) == ("completed", "closed", "closed")


def test_who_calls_at_night_is_forwarded_where_the_hours_say_so(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    guard = fresh_number()
    number = acme.number(hours={**NEVER, "closed_action": "forward"}, forward_to=guard)

    answer = carrier_client.ring(number["did_number"], "night-1")

    assert answer["actions"] == [{"type": "forward", "number": guard}]
    assert _only_call(acme) == ("completed", "transferred", "forward")


def test_who_calls_a_number_with_hours_of_its_own_is_answered_by_them(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.patch("/settings", {"hours": NEVER})
    acme.profile()

    answer = carrier_client.ring(acme.number(hours={})["did_number"], "day-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "listen"]
