"""Fixtures and helpers for calls through Telnyx: a fake of its API, and signed events."""

from collections.abc import Callable, Iterator

import pytest

from tests.fakes.carriers.telnyx.accounts import BASE_URL, create_adapter, new_account
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient
from tests.fakes.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support.api import Api
from tests.support.factories import Tenant, fresh_number
from tests.support.services import use_carriers, use_settings
from vca.settings import Settings
from vca.telephony import providers

ScriptModel = Callable[..., SequenceModel]
SIGNER = Signer()


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    """Return a running fake of Telnyx's API."""
    with telnyx_server() as server:
        yield server


@pytest.fixture
def carrier_client(
    settings: Settings, server: TelnyxServer, anonymous: Api
) -> Iterator[TelnyxCarrierClient]:
    """Install a Telnyx account as the deployment's carrier; return a client for its events."""
    use_settings(public_base_url=BASE_URL)
    use_carriers(providers.Carriers(settings)).register(create_adapter(server, SIGNER))
    with new_account(server):
        yield TelnyxCarrierClient(server, SIGNER, anonymous)


@pytest.fixture
def number(carrier_client: TelnyxCarrierClient, acme: Tenant) -> str:
    """Return a number of acme that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"], silence_seconds=7)
    number: str = acme.number(provider_type="telnyx")["did_number"]
    return number


@pytest.fixture
def sales_number() -> str:
    """Return the number of the transfer target."""
    return fresh_number()


def list_event_types(record: CallRecord) -> list[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return sorted(event["event_type"] for event in events)
