"""Furnished tenants in a database of theirs, the operations of the document, and a witness."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import houses
from tests.support.accounts import BrowsersCarrier
from tests.support.api import OpenApi, openapi_of
from tests.support.databases import SERVER
from tests.support.evidence import Evidence, Statements
from tests.support.houses import Houses
from tests.support.operations import Operation, operations
from tests.support.premises import Line, Premises
from tests.support.world import World
from vca.kit import storage
from vca.registry.webhooks import endpoints
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.routing import decision_request
from vca.tenant.calls.routing.routing_rules import WebhookDecision
from vca.tenant.privacy import data_export
from vca.tenant.telephony_accounts import service as accounts


@pytest.fixture(scope="session")
def _houses(request: pytest.FixtureRequest, _app: Flask, database_url: str) -> Houses:
    return Houses(request.config.stash[SERVER], _app, f"{make_url(database_url).database}_street")


@pytest.fixture
def _neighbours(app: Flask, _houses: Houses) -> Iterator[tuple[Premises, Premises]]:
    with _houses.entered(houses.neighbours) as found:
        yield found


@pytest.fixture(autouse=True)
def _at_home(request: pytest.FixtureRequest) -> None:
    """Who asks for Acme or Globex is in their house before a key is made or a row looked at."""
    if {"here", "there"} & set(request.fixturenames):
        request.getfixturevalue("_neighbours")


@pytest.fixture(scope="session")
def _statements() -> Statements:
    return {}


@pytest.fixture
def evidence(app: Flask, _at_home: None, _statements: Statements) -> Iterator[Evidence]:
    """The database as nobody's session sees it."""
    settings: Settings = app.extensions["settings"]
    witness = Evidence(settings.migration_database_url, statements=_statements)
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
    providers.set_current_carriers(providers.Carriers(settings)).register(fresh)
    return fresh


@pytest.fixture
def line(world: World, carrier: FakeTelephonyAdapter) -> Line:
    """The fake carrier's side of the wire."""
    return Line(world, carrier)


@pytest.fixture
def here(
    _neighbours: tuple[Premises, Premises], line: Line, monkeypatch: pytest.MonkeyPatch
) -> Premises:
    """Acme, furnished. Whatever is refused in a table of requests is not for want of room.

    Nor does a call in it wait for a system that is none.
    """
    monkeypatch.setattr(endpoints, "MAX_WEBHOOKS", 10_000)
    monkeypatch.setattr(accounts, "MAX_ACCOUNTS", 10_000)
    silent = WebhookDecision("nobody is asked from a table of requests")
    monkeypatch.setattr(decision_request, "request_decision", lambda question: silent)
    acme, _ = _neighbours
    key = data_export.storage_key(acme.tenant.ref, UUID(acme.ids["export_id"]))
    storage.current_store().put(key, [acme.word.encode()], content_type=data_export.CONTENT_TYPE)
    return acme


@pytest.fixture
def there(_neighbours: tuple[Premises, Premises]) -> Premises:
    """Globex, furnished."""
    return _neighbours[1]
