"""The list of tenants as the ledger of their schemas' revisions, and as the list of work."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit.db import Database
from vca.registry.tenants.models import Tenant
from vca.tenancy import fleet, schema
from vca.tenancy.fleet import Behind, Observer, Options, Outcome
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

# One statement takes the tenant and records the revision, so that there is nothing to forget later:
# a second run that comes meanwhile does not get the lock and does not wait for the row. Claiming a
# number locks only the row's key, which this leaves alone. ln(0) is how an expression raises.
_TAKE = """
UPDATE public.tenants SET schema_revision = CASE
    WHEN schema_revision = '{at}' AND pg_try_advisory_xact_lock(hashtextextended('{id}', 0))
    THEN '{to}' ELSE ln((schema_revision IS NULL)::int)::text
END WHERE id = '{id}'
"""


@dataclass(frozen=True)
class Range:
    """Tenants at one revision, and what would be done to each, as SQL with sentinels."""

    revision: str
    tenants: int
    sql: str


class Tenants:
    """`public.tenants`, or one row of it, as the fleet's ledger."""

    def __init__(self, database: Database, only: UUID | None = None) -> None:
        self._database = database
        self._only = only
        self.ahead: dict[TenantRef, str] = {}

    def behind(self) -> Sequence[Behind]:
        """Who is behind, deleted tenants too, the oldest first; `ahead` is found on the way."""
        statement = select(Tenant.id, Tenant.schema_revision).order_by(Tenant.created_at, Tenant.id)
        statement = statement.where(Tenant.schema_revision != schema.head())
        if self._only is not None:
            statement = statement.where(Tenant.id == self._only)
        with public(database=self._database) as session:
            found = [Behind(TenantRef(row[0]), row[1]) for row in session.execute(statement)]
        self.ahead = {one.tenant: one.revision for one in found if not schema.knows(one.revision)}
        return [one for one in found if one.tenant not in self.ahead]

    def take(self, tenant: TenantRef, *, at: str, to: str) -> str:
        """Both revisions are of this code's own files."""
        return _TAKE.format(id=tenant.id, at=at, to=to)


def revisions(session: Session) -> Sequence[str]:
    """The revision of every tenant's schema, in one read of `public`."""
    return session.scalars(select(Tenant.schema_revision)).all()


def migrate(
    database: Database,
    *,
    only: UUID | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
) -> tuple[Outcome, dict[TenantRef, str]]:
    """Migrate every tenant that is behind, or only one; what came of it, and who is ahead of us.

    `database` is the owner's, with two connections for each worker.
    """
    ledger = Tenants(database, only)
    outcome = fleet.Fleet(ledger, database, options, observer).migrate()
    return outcome, ledger.ahead


def ranges(database: Database, *, only: UUID | None = None) -> tuple[list[Range], dict[str, int]]:
    """What `migrate` would do, by revision, and how many tenants are ahead at which; reads only."""
    ledger = Tenants(database, only)
    counts = Counter(one.revision for one in ledger.behind())
    found = [Range(revision, counts[revision], _sql(revision)) for revision in sorted(counts)]
    return found, dict(Counter(ledger.ahead.values()))


def _sql(revision: str) -> str:
    parts = [
        step.script.strip() or f"-- revision {step.revision} is Python, run inside the tenant"
        for step in schema.steps(revision)
    ]
    return "\n\n".join(parts)
