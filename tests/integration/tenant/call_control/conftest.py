"""Fixtures and helpers for the control of live calls, and for outbound calls."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

SALES = "+442079460999"


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def number(acme: Tenant) -> dict[str, Any]:
    """Return a number whose agent has a transfer target."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": SALES}})
    return acme.number()


@pytest.fixture
def call(carrier_client: CarrierClient, acme: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    """Start a call to the number and return its representation."""
    carrier_client.ring(number["did_number"], f"live-{uuid4().hex}")
    live_call: dict[str, Any] = acme.get("/calls").json[0]
    return live_call


def get_call(tenant: Tenant, call: dict[str, Any]) -> dict[str, Any]:
    representation: dict[str, Any] = tenant.get(f"/calls/{call['id']}").json
    return representation
