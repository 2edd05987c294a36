"""Furnished tenants, the operations of the document, and a witness beside the pool."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask

from tests.support.accounts import BrowsersCarrier
from tests.support.api import OpenApi, openapi_of
from tests.support.evidence import Evidence
from tests.support.operations import Operation, operations
from tests.support.premises import Line, Premises, furnish
from tests.support.world import Platform, World
from vca.kit import storage
from vca.kit.config import Settings
from vca.registry.webhooks import endpoints
from vca.telephony import providers
from vca.telephony.mock import FakeTelephonyAdapter
from vca.tenant.calls import decisions
from vca.tenant.calls.route import Advice
from vca.tenant.privacy import exporting
from vca.tenant.telephony_accounts import service as accounts


@pytest.fixture(scope="session")
def evidence(database_url: str) -> Iterator[Evidence]:
    """The database as nobody's session sees it."""
    witness = Evidence(database_url)
    yield witness
    witness.close()


@pytest.fixture
def openapi(app: Flask) -> OpenApi:
    """The served document."""
    return openapi_of(app)


@pytest.fixture
def catalogue(openapi: OpenApi) -> list[Operation]:
    """Every operation of the document."""
    return operations(openapi)


@pytest.fixture
def carrier(app: Flask, settings: Settings) -> FakeTelephonyAdapter:
    """The fake carrier, able of all that an operation may ask for."""
    fresh = BrowsersCarrier(f"fake-carrier|{settings.secret_key}")
    providers.use(providers.Carriers(settings)).put(fresh)
    return fresh


@pytest.fixture
def line(world: World, carrier: FakeTelephonyAdapter) -> Line:
    """The fake carrier's side of the wire."""
    return Line(world, carrier)


@pytest.fixture
def here(
    world: World,
    platform: Platform,
    line: Line,
    evidence: Evidence,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Premises]:
    """Acme, furnished. Whatever is refused in a table of requests is not for want of room.

    Nor does a call in it wait for a system that is none.
    """
    monkeypatch.setattr(endpoints, "MOST", 10_000)
    monkeypatch.setattr(accounts, "MOST", 10_000)
    silent = Advice("nobody is asked from a table of requests")
    monkeypatch.setattr(decisions, "ask", lambda question: silent)
    acme = furnish(world, platform, line, "acme")
    key = exporting.key_of(acme.tenant.ref, UUID(acme.ids["export_id"]))
    storage.current().put(key, [acme.word.encode()], content_type=exporting.TYPE)
    yield acme
    evidence.rows("DELETE FROM public.webhooks")


@pytest.fixture
def there(world: World, platform: Platform, line: Line) -> Premises:
    """Globex, furnished."""
    return furnish(world, platform, line, "globex")
