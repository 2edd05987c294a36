"""Fixtures for API tests: two populated tenants in a separate database, and its snapshots."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import database_templates
from tests.support.accounts import WebRtcCarrier
from tests.support.api import ResponseValidator, validator_of
from tests.support.caps import lift_caps
from tests.support.database_templates import DatabaseTemplates
from tests.support.db_snapshot import SnapshotChecker, Statements
from tests.support.factories import Factory
from tests.support.operations import Operation, operations
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient
from tests.support.services import app_services, use_carriers
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.routing import decision_request
from vca.tenant.calls.routing.routing_rules import WebhookDecision
from vca.tenant.privacy import data_export


@pytest.fixture(scope="session")
def _database_templates(
    request: pytest.FixtureRequest, _app: Flask, database_url: str
) -> DatabaseTemplates:
    return DatabaseTemplates(
        request.getfixturevalue("database_server"),
        _app,
        f"{make_url(database_url).database}_populated",
    )


@pytest.fixture
def _two_populated_tenants(
    app: Flask, _database_templates: DatabaseTemplates
) -> Iterator[tuple[PopulatedTenant, PopulatedTenant]]:
    with _database_templates.use_copy(database_templates.two_populated) as tenants:
        yield tenants


@pytest.fixture(autouse=True)
def _use_populated_database(request: pytest.FixtureRequest) -> None:
    """Switch to the populated database before any other fixture creates a key or reads a row.

    Autouse fixtures run first. Without this one, a test that requests `platform` before
    `populated_acme` would create the platform key in the wrong database.
    """
    if {"populated_acme", "populated_globex"} & set(request.fixturenames):
        request.getfixturevalue("_two_populated_tenants")


@pytest.fixture(scope="session")
def _snapshot_statements() -> Statements:
    return {}


@pytest.fixture
def db_snapshot(
    app: Flask, _use_populated_database: None, _snapshot_statements: Statements
) -> Iterator[SnapshotChecker]:
    """Return a checker that reads the database outside the application's sessions."""
    settings: Settings = app_services().settings
    checker = SnapshotChecker(settings.migration_database_url, statements=_snapshot_statements)
    yield checker
    checker.close()


@pytest.fixture
def openapi(app: Flask) -> ResponseValidator:
    """Return the validator of the served OpenAPI document."""
    return validator_of(app)


@pytest.fixture
def all_operations(openapi: ResponseValidator) -> list[Operation]:
    """Return every operation of the OpenAPI document."""
    return operations(openapi)


@pytest.fixture
def carrier(app: Flask, settings: Settings) -> FakeTelephonyAdapter:
    """Install a fake carrier that supports every operation, WebRTC included."""
    adapter = WebRtcCarrier(f"fake-carrier|{settings.secret_key}")
    use_carriers(providers.Carriers(settings)).register(adapter)
    return adapter


@pytest.fixture
def carrier_client(world: Factory, carrier: FakeTelephonyAdapter) -> SignedCarrierClient:
    """Return a client that sends signed requests of the fake carrier."""
    return SignedCarrierClient(world, carrier)


@pytest.fixture
def populated_acme(
    _two_populated_tenants: tuple[PopulatedTenant, PopulatedTenant],
    carrier_client: SignedCarrierClient,
    monkeypatch: pytest.MonkeyPatch,
) -> PopulatedTenant:
    """Return the populated tenant Acme.

    Lift the caps, so that tests with a table of requests never exceed them. Skip decision webhooks,
    so that no call waits for an endpoint that does not exist. Store the file of Acme's export.
    """
    lift_caps(monkeypatch)
    no_decision = WebhookDecision("decision webhooks are disabled in this test")
    monkeypatch.setattr(decision_request, "request_decision", lambda question: no_decision)
    acme, _ = _two_populated_tenants
    key = data_export.storage_key(acme.tenant.ref, UUID(acme.ids["export_id"]))
    app_services().store.put(key, [acme.marker.encode()], content_type=data_export.CONTENT_TYPE)
    return acme


@pytest.fixture
def populated_globex(
    _two_populated_tenants: tuple[PopulatedTenant, PopulatedTenant],
) -> PopulatedTenant:
    """Return the populated tenant Globex."""
    return _two_populated_tenants[1]
