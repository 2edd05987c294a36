"""Outbound calls through the fake carrier, in a deployment without another carrier."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from tests.support.accounts import create_account
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.kit import clock
from vca.tenant.calls.control import reconciliation
from vca.tenant.calls.core.call_types import CallRef


@pytest.fixture(params=["the deployment's account", "the tenant's account"])
def number(request: pytest.FixtureRequest, app: Flask, acme: Tenant) -> dict[str, Any]:
    """Return a number of the fake carrier, as the app configures it."""
    acme.profile(greeting="Your order is ready.")
    is_own = request.param == "the tenant's account"
    return acme.number(**(create_account(acme).number_fields if is_own else {}))


def test_the_callee_answers_hears_the_greeting_and_hangs_up(
    world: Factory, acme: Tenant, number: dict[str, Any]
) -> None:
    body = {"to": fresh_number(), "from_phone_number_id": number["id"]}
    call = acme.post("/calls", body).json

    world.run_jobs(acme)

    live_call = acme.get(f"/calls/{call['id']}").json
    assert (live_call["status"], live_call["simulated"]) == ("in_progress", False)
    events = acme.get(f"/calls/{call['id']}/events").json
    assert {event["event_type"] for event in events} == {"INITIATED", "ANSWERED"}
    [turn] = acme.get(f"/calls/{call['id']}/turns").json
    assert turn["text"] == "Your order is ready."
    ref = CallRef(acme.ref, UUID(live_call["id"]))
    reconciliation.check_call(ref, now=clock.now() + timedelta(minutes=5), services=app_services())
    ended_call = acme.get(f"/calls/{call['id']}").json
    assert (ended_call["status"], ended_call["end_reason"]) == ("completed", "caller_hangup")
