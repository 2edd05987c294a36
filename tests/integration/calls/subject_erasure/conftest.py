"""Fixtures and helpers for the erasure of a data subject."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.http_receiver import OK, HttpReceiver, reply_with
from tests.integration.calls.conftest import RealCallerCarrier
from tests.support import erasure_fixture, webhooks
from tests.support.carrier_client import CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.erasure_fixture import ErasureSubject
from tests.support.factories import Factory, Tenant


@pytest.fixture
def db_snapshot(database_url: str) -> Iterator[SnapshotChecker]:
    """Return a reader of the database outside the product's sessions."""
    checker = SnapshotChecker(database_url)
    yield checker
    checker.close()


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Return a caller whose number, name and phrase occur nowhere else."""
    return erasure_fixture.create_subject()


@pytest.fixture
def tenant_with_subject_data(
    world: Factory,
    acme: Tenant,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    endpoint: HttpReceiver,
    erasure_subject: ErasureSubject,
) -> Tenant:
    """Return acme, with data of the subject in every place that stores any."""
    error_text = f"unknown: {erasure_subject.number}".encode()
    endpoint.behaviour = reply_with(
        b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(error_text), error_text)
    )
    webhooks.register_webhook(acme, endpoint)
    erasure_fixture.create_subject_data(
        world,
        acme,
        carrier_client,
        real_carrier,
        erasure_subject,
        erasure_fixture.create_numbers(acme),
    )
    erasure_fixture.enqueue_jobs_naming(acme, erasure_subject)
    endpoint.behaviour = OK  # deliveries after the erasure store no error text
    return acme


def erase_subject(tenant: Tenant, world: Factory, subject: ErasureSubject) -> dict[str, Any]:
    """Request an erasure, run its job, and return the erasure."""
    response = tenant.post("/privacy/erase", {"number": subject.number})
    assert response.status_code == 202, response.text
    world.run_jobs(tenant)
    erasure: dict[str, Any] = tenant.api.get(response.headers["Location"]).json
    return erasure
