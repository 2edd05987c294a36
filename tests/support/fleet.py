"""`flask tenants migrate`, as typed, and what it does to tenants as seen in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from click.testing import Result
from sqlalchemy import text

from tests.support import owner
from tests.support.world import Tenant, World
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
class Run:
    """What one run of the command said at its end."""

    status: int
    facts: dict[str, Any]

    @property
    def migrated(self) -> int:
        count: int = self.facts["migrated"]
        return count

    @property
    def failed(self) -> dict[str, str | None]:
        """The SQLSTATE of each tenant that failed."""
        return {one: why["sqlstate"] for one, why in self.facts["failed"].items()}


def command(world: World, *words: str) -> Result:
    """Any command of `flask`."""
    return world.app.test_cli_runner().invoke(args=list(words))


def migrate(world: World, *words: str) -> Run:
    """`flask tenants migrate --json`."""
    result = command(world, "tenants", "migrate", "--json", *words)
    assert result.stdout, result.output
    return Run(result.exit_code, json.loads(result.stdout))


def told(result: Result) -> list[dict[str, Any]]:
    """The JSON lines of a run that no terminal saw."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def revision(tenant: Tenant) -> str:
    """The revision that is written down for a tenant."""
    with public_session() as session:
        return session.get_one(TenantRow, tenant.ref.id).schema_revision


def at(tenants: Sequence[Tenant]) -> list[str]:
    return [revision(tenant) for tenant in tenants]


def has_nicknames(tenant: Tenant) -> tuple[bool, bool]:
    """Whether the column and the index of the revision `nicknames` are there."""
    with tenant_session(tenant.ref) as session:
        found = [
            session.scalar(text(query), {"table": f"{tenant.ref.schema}.phone_numbers"})
            for query in (_COLUMN, _INDEX)
        ]
    return found[0] == 1, found[1] == 1


def run_in(tenant: Tenant, statement: str) -> None:
    with owner.inside(tenant.ref) as session:
        session.execute(text(statement))


def spoil(tenant: Tenant) -> None:
    """Something in the schema has the name that `nicknames` wants for its index."""
    run_in(tenant, "CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (label)")


def mend(tenant: Tenant) -> None:
    run_in(tenant, "DROP INDEX phone_numbers_nickname_idx")


def write_down(tenant: Tenant, revision: str) -> None:
    """Say that a tenant is at a revision, whatever its schema is."""
    with owner.public() as session:
        session.get_one(TenantRow, tenant.ref.id).schema_revision = revision
