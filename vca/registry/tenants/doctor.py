"""Find rows, schemas, roles and numbers that do not belong together; set right what is safe."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.kit.db.bulk import Bulk
from vca.registry.dids.models import Did
from vca.registry.dids.service import REST
from vca.registry.tenants import product, purge, roles
from vca.registry.tenants.models import PURGING, Tenant
from vca.tenancy import doctor, drop, kept, schema, tables
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

# Two statements for each of them in one query.
_NUMBERS_AT_A_TIME = 100
_MOST_DIFFERENCES = 5
_WITHOUT_TENANT = text("""
SELECT 'dids' AS name, did_number AS which FROM public.dids d
WHERE NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = d.tenant_id)
UNION ALL
SELECT 'api_keys', k.prefix FROM public.api_keys k
WHERE k.tenant_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = k.tenant_id)
""")
_DELETE_WITHOUT_TENANT = (
    "DELETE FROM public.dids d"
    " WHERE NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = d.tenant_id)",
    "DELETE FROM public.api_keys k WHERE k.tenant_id IS NOT NULL"
    " AND NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = k.tenant_id)",
)


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be; `subject` is a tenant's id, a schema or a number."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Known:
    """A tenant as its row has it."""

    ref: TenantRef
    status: str
    revision: str


@dataclass(frozen=True)
class Practice:
    """What an examination needs: where, when, and the prefix of roles, None without them.

    With `drop_empty`, repairing also drops schemas without tenant that hold no table.
    """

    database: Bulk
    now: datetime
    role_prefix: str | None
    drop_empty: bool = False


def examine(practice: Practice) -> list[Finding]:
    """All that is wrong; reads the catalogue in a query for some hundred schemas."""
    with public(database=practice.database) as session:
        rows = session.execute(select(Tenant.id, Tenant.status, Tenant.schema_revision)).all()
        found = doctor.schemas(session)
        findings = [*_expired(session, practice), *_ownerless(session)]
        findings += _without_tenant(session, found - {TenantRef(row[0]).schema for row in rows})
        known = {TenantRef(row[0]).schema: Known(TenantRef(row[0]), *row[1:]) for row in rows}
        findings += _without_role(session, practice, known.values())
    digests = dict(doctor.digests(practice.database, known.keys() & found))
    sound = []
    for name, tenant in known.items():
        finding = _condition(practice.database, tenant, digests.get(name), there=name in found)
        if finding is not None:
            findings.append(finding)
        if finding is None or finding.kind == "drift":
            sound.append(tenant.ref)
    return findings + list(_adrift(practice.database, sound))


def repair(practice: Practice, findings: Iterable[Finding]) -> None:
    """Set right what is safe, each finding in transactions of its own; the rest is left alone."""
    for finding in findings:
        remedy = REMEDIES.get(finding.kind)
        if remedy is not None:
            remedy(practice, finding)


def _condition(database: Bulk, tenant: Known, digest: str | None, *, there: bool) -> Finding | None:
    subject = str(tenant.ref.id)
    if tenant.revision == PURGING:
        return Finding("half_dropped", subject, "its purge was not finished")
    if not there:
        return Finding("tenant_without_schema", subject, f"{tenant.ref.schema} is missing")
    if not schema.knows(tenant.revision):
        return None  # a revision that is ahead of this code cannot be judged by it
    fresh = doctor.fresh(database, tenant.revision)
    if digest == fresh.digest:
        return None
    differences = fresh.differences(doctor.shape(database, tenant.ref.schema))
    if tenant.status == "deleted" and any(line.startswith("- relation") for line in differences):
        return Finding("half_dropped", subject, "deleted, and tables are missing")
    more = len(differences) - _MOST_DIFFERENCES
    shown = "; ".join(differences[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
    return Finding("drift", subject, shown)


def _expired(session: Session, practice: Practice) -> Iterator[Finding]:
    for old in kept.kept(session):
        if old.expired(practice.now):
            yield Finding("kept_schema", old.name, f"replaced at {old.since.isoformat()}")


def _ownerless(session: Session) -> Iterator[Finding]:
    for row in session.execute(_WITHOUT_TENANT):
        yield Finding("row_without_tenant", row.which, f"in public.{row.name}")


def _without_tenant(session: Session, names: Iterable[str]) -> Iterator[Finding]:
    for name in sorted(names):
        count = len(tables.tables(session, name))
        yield Finding("schema_without_tenant", name, f"{count} tables")


def _without_role(
    session: Session, practice: Practice, known: Iterable[Known]
) -> Iterator[Finding]:
    """Roles belong to the server: a dump of the database does not bring them along."""
    if (prefix := practice.role_prefix) is None:
        return
    there = roles.existing(session, prefix=prefix)
    for tenant in known:
        role = tenant.ref.role(prefix)
        if role not in there and tenant.revision != PURGING:
            yield Finding("missing_role", str(tenant.ref.id), role)


def _adrift(database: Bulk, sound: list[TenantRef]) -> Iterator[Finding]:
    for start in range(0, len(sound), _NUMBERS_AT_A_TIME):
        with public(database=database) as session:
            batch = sound[start : start + _NUMBERS_AT_A_TIME]
            for lost in product.current().adrift(session, batch):
                detail = f"claimed for a phone number that {lost.tenant_id} does not have"
                yield Finding("did_without_phone_number", lost.did_number, detail)


def _drop_expired(practice: Practice, _: Finding) -> None:
    drop.drop_kept(practice.database, now=practice.now)


def _finish_purge(practice: Practice, finding: Finding) -> None:
    tenant_id, prefix = UUID(finding.subject), practice.role_prefix
    purge.purge(practice.database, tenant_id=tenant_id, role_prefix=prefix, now=practice.now)


def _make_role(practice: Practice, finding: Finding) -> None:
    if practice.role_prefix is not None:
        with public(database=practice.database) as session:
            roles.ensure(session, tenant_id=UUID(finding.subject))


def _drop_if_empty(practice: Practice, finding: Finding) -> None:
    if practice.drop_empty:
        drop.drop_empty(practice.database, finding.subject)


def _delete_ownerless(practice: Practice, _: Finding) -> None:
    with public(database=practice.database) as session:
        for statement in _DELETE_WITHOUT_TENANT:
            session.execute(text(statement))


def _let_rest(practice: Practice, finding: Finding) -> None:
    """As if the phone number had been deleted: nothing routes to it, and its carrier is told."""
    with public(database=practice.database) as session:
        did = session.get(Did, finding.subject, with_for_update=True)
        if did is None or did.state != "claimed":
            return
        jobs.enqueue(
            session,
            "phone_numbers.unregister",
            tenant_id=did.tenant_id,
            phone_number_id=did.phone_number_id,
            did_number=did.did_number,
            provider_type=did.provider_type,
        )
        did.state, did.rests_until = "resting", practice.now + REST
        did.phone_number_id = did.registration_status = None


REMEDIES: Mapping[str, Callable[[Practice, Finding], None]] = {
    "kept_schema": _drop_expired,
    "half_dropped": _finish_purge,
    "missing_role": _make_role,
    "schema_without_tenant": _drop_if_empty,
    "row_without_tenant": _delete_ownerless,
    "did_without_phone_number": _let_rest,
}
