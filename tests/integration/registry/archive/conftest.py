"""Fixtures and helpers for tests of tenant archives."""

from pathlib import Path

import pytest

from tests.support import database_templates
from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from vca.registry.webhooks.retention import PURGE_JOB
from vca.tenant.privacy.re_erasure import REAPPLY_JOB


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of a tenant with rows in every table."""
    return database_templates.one_populated


@pytest.fixture
def archive_path(tmp_path: Path) -> Path:
    """Return the path of the archive."""
    return tmp_path / "acme.zip"


def imported_tenant_with_key(factory: Factory, tenant_id: str) -> Tenant:
    """Return an imported tenant with a new key."""
    key = factory.key(tenant_id)
    return Tenant(tenant_id, factory.api(key), key)


def number_states(
    db_snapshot: SnapshotChecker, tenant_id: str
) -> dict[str, tuple[str, str | None]]:
    rows = db_snapshot.rows(
        "SELECT did_number, state, registration_status FROM public.dids WHERE tenant_id = %s",
        tenant_id,
    )
    return {number: (state, status) for number, state, status in rows}


def pending_jobs(db_snapshot: SnapshotChecker, tenant_id: str) -> list[tuple[str, str]]:
    return db_snapshot.rows(
        "SELECT task_name, args->>'did_number' FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = %s AND status = 'todo' AND task_name <> ALL (%s)"
        " AND task_name NOT LIKE '%%.count' ORDER BY 1, 2",
        tenant_id,
        [PURGE_JOB, REAPPLY_JOB],
    )
