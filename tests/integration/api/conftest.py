"""Furnished tenants in a database of theirs, the operations of the document, and a witness."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import database_templates
from tests.support.accounts import WebRtcCarrier
from tests.support.api import ResponseValidator, validator_of
from tests.support.database_templates import DatabaseTemplates
from tests.support.db_snapshot import SnapshotChecker, Statements
from tests.support.factories import Factory
from tests.support.operations import Operation, operations
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient
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
def _database_templates(
    request: pytest.FixtureRequest, _app: Flask, database_url: str
) -> DatabaseTemplates:
    return DatabaseTemplates(
        request.getfixturevalue("database_server"),
        _app,
        f"{make_url(database_url).database}_street",
    )


@pytest.fixture
def _two_populated_tenants(
    app: Flask, _database_templates: DatabaseTemplates
) -> Iterator[tuple[PopulatedTenant, PopulatedTenant]]:
    with _database_templates.use_copy(database_templates.two_populated) as tenants:
        yield tenants


@pytest.fixture(autouse=True)
def _use_populated_database(request: pytest.FixtureRequest) -> None:
    """Who asks for Acme or Globex is in their house before a key is made or a row looked at."""
    if {"here", "there"} & set(request.fixturenames):
        request.getfixturevalue("_two_populated_tenants")


@pytest.fixture(scope="session")
def _snapshot_statements() -> Statements:
    return {}


@pytest.fixture
def db_snapshot(
    app: Flask, _use_populated_database: None, _snapshot_statements: Statements
) -> Iterator[SnapshotChecker]:
    """The database as nobody's session sees it."""
    settings: Settings = app.extensions["settings"]
    checker = SnapshotChecker(settings.migration_database_url, statements=_snapshot_statements)
    yield checker
    checker.close()


@pytest.fixture
def openapi(app: Flask) -> ResponseValidator:
    """The served document."""
    return validator_of(app)


@pytest.fixture
def all_operations(openapi: ResponseValidator) -> list[Operation]:
    """Every operation of the document."""
    return operations(openapi)


@pytest.fixture
def carrier(app: Flask, settings: Settings) -> FakeTelephonyAdapter:
    """The fake carrier, able of all that an operation may ask for."""
    adapter = WebRtcCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(adapter)
    return adapter


@pytest.fixture
def carrier_client(world: Factory, carrier: FakeTelephonyAdapter) -> SignedCarrierClient:
    """The fake carrier's side of the wire."""
    return SignedCarrierClient(world, carrier)


@pytest.fixture
def populated_acme(
    _two_populated_tenants: tuple[PopulatedTenant, PopulatedTenant],
    carrier_client: SignedCarrierClient,
    monkeypatch: pytest.MonkeyPatch,
) -> PopulatedTenant:
    """Acme, furnished. Whatever is refused in a table of requests is not for want of room.

    Nor does a call in it wait for a system that is none.
    """
    monkeypatch.setattr(endpoints, "MAX_WEBHOOKS", 10_000)
    monkeypatch.setattr(accounts, "MAX_ACCOUNTS", 10_000)
    no_decision = WebhookDecision("nobody is asked from a table of requests")
    monkeypatch.setattr(decision_request, "request_decision", lambda question: no_decision)
    acme, _ = _two_populated_tenants
    key = data_export.storage_key(acme.tenant.ref, UUID(acme.ids["export_id"]))
    storage.current_store().put(key, [acme.marker.encode()], content_type=data_export.CONTENT_TYPE)
    return acme


@pytest.fixture
def populated_globex(
    _two_populated_tenants: tuple[PopulatedTenant, PopulatedTenant],
) -> PopulatedTenant:
    """Globex, furnished."""
    return _two_populated_tenants[1]
