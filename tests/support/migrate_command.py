"""`flask tenants migrate`, as typed, and what it does to tenants as seen in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from click.testing import Result
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from vca.kit import json
from vca.registry.tenants.models import Tenant as TenantRow
from vca.tenancy.session import public_session, tenant_session

# By the table's id: the catalogue's views go through the indexes of all schemas.
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
    """What one run of the command said at its end."""

    status: int
    summary: dict[str, Any]

    @property
    def migrated(self) -> int:
        count: int = self.summary["migrated"]
        return count

    @property
    def failed(self) -> dict[str, str | None]:
        """The SQLSTATE of each tenant that failed."""
        return {
            tenant_id: failure["sqlstate"] for tenant_id, failure in self.summary["failed"].items()
        }


def run_flask(world: Factory, *arguments: str) -> Result:
    """Any command of `flask`."""
    return world.app.test_cli_runner().invoke(args=list(arguments))


def run_migrate(world: Factory, *arguments: str) -> MigrateResult:
    """`flask tenants migrate --json`."""
    result = run_flask(world, "tenants", "migrate", "--json", *arguments)
    assert result.stdout, result.output
    return MigrateResult(result.exit_code, json.loads(result.stdout))


def json_lines(result: Result) -> list[dict[str, Any]]:
    """The JSON lines of a run that no terminal saw."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def recorded_revision(tenant: Tenant) -> str:
    """The revision that is written down for a tenant."""
    with public_session() as session:
        return session.get_one(TenantRow, tenant.ref.id).schema_revision


def recorded_revisions(tenants: Sequence[Tenant]) -> list[str]:
    return [recorded_revision(tenant) for tenant in tenants]


def has_nicknames(tenant: Tenant) -> tuple[bool, bool]:
    """Whether the column and the index of the revision `nicknames` are there."""
    with tenant_session(tenant.ref) as session:
        results = [
            session.scalar(text(query), {"table": f"{tenant.ref.schema}.phone_numbers"})
            for query in (_COLUMN, _INDEX)
        ]
    return results[0] == 1, results[1] == 1


def execute_in(tenant: Tenant, statement: str) -> None:
    with admin_db.tenant_session(tenant.ref) as session:
        session.execute(text(statement))


def block_next_revision(tenant: Tenant) -> None:
    """Something in the schema has the name that `nicknames` wants for its index."""
    execute_in(tenant, "CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (label)")


def unblock_next_revision(tenant: Tenant) -> None:
    execute_in(tenant, "DROP INDEX phone_numbers_nickname_idx")


def set_recorded_revision(tenant: Tenant, revision: str) -> None:
    """Say that a tenant is at a revision, whatever its schema is."""
    with admin_db.public_session() as session:
        session.get_one(TenantRow, tenant.ref.id).schema_revision = revision
