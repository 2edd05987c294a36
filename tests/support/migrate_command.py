"""Run `flask tenants migrate` and read its effect on tenants from the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from click.testing import Result
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.kit import json
from vca.registry.tenants.models import Tenant as TenantRow
from vca.tenancy.session import public_session, tenant_session

# Use the table's oid: the views of the catalogue would read the indexes of all schemas.
_COLUMN = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(:table)"
    " AND attname = 'nickname' AND NOT attisdropped"
)
_INDEX = (
    "SELECT 1 FROM pg_index WHERE indrelid = to_regclass(:table)"
    " AND pg_get_indexdef(indexrelid) LIKE '%(nickname)'"
)


@dataclass(frozen=True)
class MigrateResult:
    """Exit status and JSON summary of one run of the command."""

    status: int
    summary: dict[str, Any]

    @property
    def migrated(self) -> int:
        count: int = self.summary["migrated"]
        return count

    @property
    def failed(self) -> dict[str, str | None]:
        """Return the SQLSTATE of each tenant that failed, by tenant id."""
        return {
            tenant_id: failure["sqlstate"] for tenant_id, failure in self.summary["failed"].items()
        }


def run_flask(world: Factory, *arguments: str) -> Result:
    """Run any `flask` command."""
    return world.app.test_cli_runner().invoke(args=list(arguments))


def run_migrate(world: Factory, *arguments: str) -> MigrateResult:
    """Run `flask tenants migrate --json`."""
    result = run_flask(world, "tenants", "migrate", "--json", *arguments)
    assert result.stdout, result.output
    return MigrateResult(result.exit_code, json.loads(result.stdout))


def json_lines(result: Result) -> list[dict[str, Any]]:
    """Return the JSON lines of a run without a terminal."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def recorded_revision(tenant: Tenant) -> str:
    """Return the recorded revision of a tenant."""
    with public_session(database=app_services().database) as session:
        return session.get_one(TenantRow, tenant.ref.id).schema_revision


def recorded_revisions(tenants: Sequence[Tenant]) -> list[str]:
    return [recorded_revision(tenant) for tenant in tenants]


def has_nicknames(tenant: Tenant) -> tuple[bool, bool]:
    """Return whether the column and the index of the revision `nicknames` exist."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        results = [
            session.scalar(text(query), {"table": f"{tenant.ref.schema}.phone_numbers"})
            for query in (_COLUMN, _INDEX)
        ]
    return results[0] == 1, results[1] == 1


def execute_in(tenant: Tenant, statement: str) -> None:
    with admin_db.tenant_session(tenant.ref) as session:
        session.execute(text(statement))


def block_next_revision(tenant: Tenant) -> None:
    """Create an index with the name that the revision `nicknames` uses."""
    execute_in(tenant, "CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (label)")


def unblock_next_revision(tenant: Tenant) -> None:
    execute_in(tenant, "DROP INDEX phone_numbers_nickname_idx")


def set_recorded_revision(tenant: Tenant, revision: str) -> None:
    """Record a revision for a tenant without changing its schema."""
    with admin_db.public_session() as session:
        session.get_one(TenantRow, tenant.ref.id).schema_revision = revision
