"""Fixtures and helpers for tests of `flask tenants purge` and `erase`."""

import pytest

from tests.support import database_templates
from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker

OWNED_TABLES = ("public.dids", "public.api_keys")


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of a tenant with rows in every table."""
    return database_templates.one_populated


def remaining_places(db_snapshot: SnapshotChecker, tenant_id: str) -> list[str]:
    """Return the names of the places that still contain data of the tenant."""
    hex_id = tenant_id.replace("-", "")
    queries = {
        "schemas": f"SELECT 1 FROM pg_namespace WHERE nspname ~ '{hex_id}'",
        "roles": f"SELECT 1 FROM pg_roles WHERE rolname ~ '{hex_id}'",
        "tenants": f"SELECT 1 FROM public.tenants WHERE id = '{tenant_id}'",
        "jobs": f"SELECT 1 FROM jobs.procrastinate_jobs WHERE args::text ~ '{tenant_id}'",
        **{name: f"SELECT 1 FROM {name} WHERE tenant_id = '{tenant_id}'" for name in OWNED_TABLES},
    }
    return [name for name, query in queries.items() if db_snapshot.rows(query)]
