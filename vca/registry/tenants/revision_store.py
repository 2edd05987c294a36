"""The list of tenants as the ledger of their schemas' revisions, and as the list of work."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit.db import Database
from vca.registry.tenants.models import Tenant
from vca.tenancy import migration_runner, schema
from vca.tenancy.migration_runner import MigrationOptions, MigrationOutcome, Observer, PendingTenant
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

# One statement takes the tenant and records the revision, so that there is nothing to forget later:
# a second run that comes meanwhile does not get the lock and does not wait for the row. Claiming a
# number locks only the row's key, which this leaves alone. ln(0) is how an expression raises.
_CLAIM = """
UPDATE public.tenants SET schema_revision = CASE
    WHEN schema_revision = '{at}' AND pg_try_advisory_xact_lock(hashtextextended('{id}', 0))
    THEN '{to}' ELSE ln((schema_revision IS NULL)::int)::text
END WHERE id = '{id}'
"""


@dataclass(frozen=True)
class RevisionGroup:
    """Tenants at one revision, and what would be done to each, as SQL with sentinels."""

    revision: str
    tenants: int
    sql: str


class TenantRevisionStore:
    """`public.tenants`, or one row of it, as the fleet's ledger."""

    def __init__(self, database: Database, tenant_id: UUID | None = None) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self.ahead: dict[TenantRef, str] = {}

    def list_pending(self) -> Sequence[PendingTenant]:
        """Who is behind, deleted tenants too, the oldest first; `ahead` is found on the way."""
        statement = select(Tenant.id, Tenant.schema_revision).order_by(Tenant.created_at, Tenant.id)
        statement = statement.where(Tenant.schema_revision != schema.head())
        if self._tenant_id is not None:
            statement = statement.where(Tenant.id == self._tenant_id)
        with public_session(database=self._database) as session:
            behind_tenants = [
                PendingTenant(TenantRef(row[0]), row[1]) for row in session.execute(statement)
            ]
        self.ahead = {
            one.tenant: one.revision
            for one in behind_tenants
            if not schema.is_known_revision(one.revision)
        }
        return [one for one in behind_tenants if one.tenant not in self.ahead]

    def claim_sql(self, tenant: TenantRef, *, from_revision: str, to_revision: str) -> str:
        """Both revisions are of this code's own files."""
        return _CLAIM.format(id=tenant.id, at=from_revision, to=to_revision)


def list_revisions(session: Session) -> Sequence[str]:
    """The revision of every tenant's schema, in one read of `public`."""
    return session.scalars(select(Tenant.schema_revision)).all()


def migrate_tenants(
    database: Database,
    *,
    tenant_id: UUID | None = None,
    options: MigrationOptions | None = None,
    observer: Observer | None = None,
) -> tuple[MigrationOutcome, dict[TenantRef, str]]:
    """Migrate every tenant that is behind, or only one; what came of it, and who is ahead of us.

    `database` is the owner's, with two connections for each worker.
    """
    store = TenantRevisionStore(database, tenant_id)
    outcome = migration_runner.MigrationRun(store, database, options, observer).migrate()
    return outcome, store.ahead


def plan_migration(
    database: Database, *, tenant_id: UUID | None = None
) -> tuple[list[RevisionGroup], dict[str, int]]:
    """What `migrate` would do, by revision, and how many tenants are ahead at which; reads only."""
    store = TenantRevisionStore(database, tenant_id)
    counts = Counter(one.revision for one in store.list_pending())
    groups = [
        RevisionGroup(revision, counts[revision], _preview_sql(revision))
        for revision in sorted(counts)
    ]
    return groups, dict(Counter(store.ahead.values()))


def _preview_sql(revision: str) -> str:
    parts = [
        step.script.strip() or f"-- revision {step.revision} is Python, run inside the tenant"
        for step in schema.compile_steps(revision)
    ]
    return "\n\n".join(parts)
