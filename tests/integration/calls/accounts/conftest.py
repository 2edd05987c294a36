"""Fixtures and helpers for calls on telephony accounts of tenants."""

from typing import Any

import pytest

from tests.support.accounts import OTHER_CARRIER, OwnAccount, create_account
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

OTHER_CARRIER_BASE_PATH = f"/telephony/{OTHER_CARRIER}/"


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return a client that signs with the deployment's account."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def own_account(carrier: FakeTelephonyAdapter, acme: Tenant) -> OwnAccount:
    """Create a telephony account of acme."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": "+442079460999"}})
    return create_account(acme)


@pytest.fixture
def number(acme: Tenant, own_account: OwnAccount) -> dict[str, Any]:
    """Create a number of acme on that account."""
    return acme.number(**own_account.number_fields)


def list_calls(tenant: Tenant) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = tenant.get("/calls").json
    return calls
