"""The spend cap of a tenant: calls above it are not answered by an agent."""

from typing import Any

import pytest

from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Tenant, fresh_number
from tests.support.usage import record_usage


def _spend(tenant: Tenant, cents: int) -> None:
    """Use up the 100 included minutes of the starter plan, and minutes at 12 cents of this cost."""
    record_usage(tenant, 6_000 + cents * 5)


def test_above_the_cap_callers_hear_a_sentence_and_are_forwarded(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    call_record: CallRecord,
    number: str,
) -> None:
    sentence = "We have talked enough this month."
    acme.patch("/settings", {"spend_cap": 100, "sentences": {"over_limit": sentence}})
    _spend(acme, 100)

    first, repeated = (carrier_client.ring(number, "call-1") for _ in range(2))

    assert first == repeated
    assert action_types(first) == ["say", "forward"]
    assert spoken_text(first) == sentence
    assert call_record.end_state == ("failed", "spend_cap")
    assert call_record.call["route"]["rules"][-1]["why"] == "the monthly spend cap is reached"


def test_below_the_cap_a_call_reserves_a_minute_until_it_ends(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    _spend(acme, 90)

    state = carrier_client.ring(number, "call-1")["state"]

    usage = acme.get("/usage").json
    assert (usage["spent"], usage["reserved"], usage["spend_cap"]) == (90, 12, 100)
    assert action_types(carrier_client.ring(number, "call-2")) == ["say", "forward"]
    carrier_client.send_status("call-1", "completed", state=state)
    assert acme.get("/usage").json["reserved"] == 0
    assert action_types(carrier_client.ring(number, "call-3")) == ["say", "listen"]


def test_included_minutes_are_not_reserved(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"spend_cap": 1})
    record_usage(acme, 6_000 - 90)

    carrier_client.ring(number, "call-1")
    assert acme.get("/usage").json["reserved"] == 0
    carrier_client.ring(number, "call-2")

    assert acme.get("/usage").json["reserved"] == 6  # half a minute


def test_calls_are_answered_without_a_cap_and_after_its_removal(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    _spend(acme, 1_000)
    assert action_types(carrier_client.ring(number, "call-1")) == ["say", "listen"]
    acme.patch("/settings", {"spend_cap": 999})
    assert action_types(carrier_client.ring(number, "call-2")) == ["say", "forward"]

    acme.patch("/settings", {"spend_cap": None})

    assert action_types(carrier_client.ring(number, "call-3")) == ["say", "listen"]


def test_a_simulation_ignores_the_cap(acme: Tenant, number: str) -> None:
    acme.patch("/settings", {"spend_cap": 1})
    _spend(acme, 10)

    assert acme.simulate(number)["status"] == "in_progress"


def test_an_outbound_call_above_the_cap_returns_409(
    acme: Tenant, globex: Tenant, number: str, carrier_client: CarrierClient
) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    phone_number = acme.get("/phone-numbers").json[0]
    body = {"to": fresh_number(), "from_phone_number_id": phone_number["id"]}
    _spend(acme, 95)
    assert acme.post("/calls", body).status_code == 202

    response = acme.post("/calls", body)

    assert (response.status_code, response.json["code"]) == (409, "spend-cap-reached")
    assert acme.get("/usage").json["reserved"] == 12


def test_the_route_explanation_applies_the_cap(acme: Tenant, number: str) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    body = {"to": number}
    assert acme.post("/routing/explain", body).json["decision"] == "agent"
    _spend(acme, 100)

    explanation = acme.post("/routing/explain", body).json

    assert (explanation["decision"], explanation["end_reason"]) == ("refused", "spend_cap")
    assert explanation["rules"][-1]["rule"] == "limits"


@pytest.mark.parametrize("cap", [0, -1, 1.5, "100", True, 10**12 + 1])
def test_an_invalid_cap_returns_400(acme: Tenant, cap: Any) -> None:
    response = acme.patch("/settings", {"spend_cap": cap})

    assert response.status_code == 400
    assert [error["pointer"] for error in response.json["errors"]] == ["/spend_cap"]
    assert acme.get("/settings").json["spend_cap"] is None
