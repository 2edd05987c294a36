"""`public.tenants` as the store of the revisions of tenants' schemas."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.registry.tenants.models import Tenant
from vca.tenancy import migration_runner, schema
from vca.tenancy.database import TenantDatabase
from vca.tenancy.migration_runner import MigrationOptions, MigrationOutcome, Observer, PendingTenant
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

# One statement claims the tenant and records the revision, so no later step can be forgotten. A
# concurrent run fails to get the advisory lock and does not wait for the row. Claiming a number
# locks only the row's key, which this statement does not change. ln(0) raises an error within an
# expression.
_CLAIM = """
UPDATE public.tenants SET schema_revision = CASE
    WHEN schema_revision = '{at}' AND pg_try_advisory_xact_lock(hashtextextended('{id}', 0))
    THEN '{to}' ELSE ln((schema_revision IS NULL)::int)::text
END WHERE id = '{id}'
"""


@dataclass(frozen=True)
class RevisionGroup:
    """Tenants at one revision, and the SQL with placeholders that would migrate each of them."""

    revision: str
    tenants: int
    sql: str


class TenantRevisionStore:
    """`public.tenants`, or one of its rows, as the revision store of a migration run."""

    def __init__(self, database: TenantDatabase, tenant_id: UUID | None = None) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self.ahead: dict[TenantRef, str] = {}

    def list_pending(self) -> Sequence[PendingTenant]:
        """Return the tenants that are behind, oldest first, including deleted ones.

        Tenants with an unknown revision are put into `ahead`. Raises SchemaTooOld.
        """
        statement = select(Tenant.id, Tenant.schema_revision).order_by(Tenant.created_at, Tenant.id)
        statement = statement.where(Tenant.schema_revision != schema.head())
        if self._tenant_id is not None:
            statement = statement.where(Tenant.id == self._tenant_id)
        with public_session(database=self._database) as session:
            behind_tenants = [
                PendingTenant(TenantRef(row[0]), row[1]) for row in session.execute(statement)
            ]
        if any(schema.precedes_baseline(pending.revision) for pending in behind_tenants):
            raise schema.SchemaTooOld
        self.ahead = {
            pending.tenant: pending.revision
            for pending in behind_tenants
            if not schema.is_known_revision(pending.revision)
        }
        return [pending for pending in behind_tenants if pending.tenant not in self.ahead]

    def claim_sql(self, tenant: TenantRef, *, from_revision: str, to_revision: str) -> str:
        """Return the SQL; both revisions come from this code's own files, never from input."""
        return _CLAIM.format(id=tenant.id, at=from_revision, to=to_revision)


def list_revisions(session: Session) -> Sequence[str]:
    """Return the revision of every tenant's schema, with one query."""
    return session.scalars(select(Tenant.schema_revision)).all()


def migrate_tenants(
    database: TenantDatabase,
    *,
    tenant_id: UUID | None = None,
    options: MigrationOptions | None = None,
    observer: Observer | None = None,
) -> tuple[MigrationOutcome, dict[TenantRef, str]]:
    """Migrate every tenant that is behind, or one; return the outcome and the tenants ahead.

    `database` has the owner's login and two connections for each worker.
    """
    store = TenantRevisionStore(database, tenant_id)
    outcome = migration_runner.MigrationRun(store, database, options, observer).migrate()
    return outcome, store.ahead


def plan_migration(
    database: TenantDatabase, *, tenant_id: UUID | None = None
) -> tuple[list[RevisionGroup], dict[str, int]]:
    """Return what a migration would do by revision, and the count of tenants ahead by revision.

    It changes nothing.
    """
    store = TenantRevisionStore(database, tenant_id)
    counts = Counter(pending.revision for pending in store.list_pending())
    groups = [
        RevisionGroup(
            revision, counts[revision], _preview_sql(revision, for_citus=database.on_citus)
        )
        for revision in sorted(counts)
    ]
    return groups, dict(Counter(store.ahead.values()))


def _preview_sql(revision: str, *, for_citus: bool) -> str:
    parts = [
        step.script.strip()
        or f"-- revision {step.revision} is Python code that runs inside the tenant"
        for step in schema.compile_steps(revision, for_citus=for_citus)
    ]
    return "\n\n".join(parts)
