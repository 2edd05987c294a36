"""Find inconsistent rows, schemas, roles and numbers, and repair what can be repaired safely."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.kit.db.copy_driver import BulkDatabase
from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.models import Did
from vca.registry.number_registry.service import QUARANTINE
from vca.registry.tenants import purge, roles
from vca.registry.tenants.models import PURGING, Tenant
from vca.services import Services
from vca.services.lifecycle_hooks import Inconsistency
from vca.tenancy import drop, replaced_schemas, schema, schema_comparison, tables
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

# Tenants per query, which has two statements for each of them.
_TENANTS_PER_QUERY = 100
_MAX_LISTED_DIFFERENCES = 5
_ROWS_WITHOUT_TENANT = text("""
SELECT 'dids' AS name, did_number AS which FROM public.dids d
WHERE NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = d.tenant_id)
UNION ALL
SELECT 'api_keys', k.prefix FROM public.api_keys k
WHERE k.tenant_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = k.tenant_id)
""")
_DELETE_ROWS_WITHOUT_TENANT = (
    "DELETE FROM public.dids d"
    " WHERE NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = d.tenant_id)",
    "DELETE FROM public.api_keys k WHERE k.tenant_id IS NOT NULL"
    " AND NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = k.tenant_id)",
)


@dataclass(frozen=True)
class TenantState:
    """A tenant's status and revision, as stored in its row."""

    ref: TenantRef
    status: str
    revision: str


@dataclass(frozen=True)
class CheckContext:
    """The owner's database, the time, and the prefix of role names, None without roles.

    With `drop_empty`, a repair also drops schemas without tenant that contain no table.
    """

    database: BulkDatabase
    now: datetime
    role_prefix: str | None
    services: Services
    drop_empty: bool = False


def find_inconsistencies(context: CheckContext) -> list[Inconsistency]:
    """Return all inconsistencies; reads the catalogue with one query for a few hundred schemas."""
    with public_session(database=context.database) as session:
        rows = session.execute(select(Tenant.id, Tenant.status, Tenant.schema_revision)).all()
        schemas = schema_comparison.list_tenant_schemas(session)
        findings = [*_expired_schemas(session, context), *_rows_without_tenant(session)]
        findings += _schemas_without_tenant(
            session, schemas - {TenantRef(row[0]).schema for row in rows}
        )
        tenants_by_schema = {
            TenantRef(row[0]).schema: TenantState(TenantRef(row[0]), *row[1:]) for row in rows
        }
        findings += _missing_roles(session, context, tenants_by_schema.values())
    digests = dict(
        schema_comparison.schema_digests(context.database, tenants_by_schema.keys() & schemas)
    )
    readable_tenants = []
    for name, tenant in tenants_by_schema.items():
        finding = _check_tenant(
            context.database, tenant, digests.get(name), has_schema=name in schemas
        )
        if finding is not None:
            findings.append(finding)
        if finding is None or finding.kind == "drift":
            readable_tenants.append(tenant.ref)
    return findings + list(_examine_features(context, readable_tenants))


def repair(context: CheckContext, findings: Iterable[Inconsistency]) -> None:
    """Repair what can be repaired safely; each repair has its own transactions.

    Findings without a fix are skipped.
    """
    for finding in findings:
        fix = FIXES.get(finding.kind)
        if fix is not None:
            fix(context, finding)


def _check_tenant(
    database: BulkDatabase, tenant: TenantState, digest: str | None, *, has_schema: bool
) -> Inconsistency | None:
    subject = str(tenant.ref.id)
    if tenant.revision == PURGING:
        return Inconsistency("half_dropped", subject, "its purge is unfinished")
    if not has_schema:
        return Inconsistency("tenant_without_schema", subject, f"{tenant.ref.schema} is missing")
    if not schema.is_known_revision(tenant.revision):
        return None  # this code cannot check a revision that is ahead of it
    expected = schema_comparison.reference_fingerprint(database, tenant.revision)
    if digest == expected.digest:
        return None
    differences = expected.differences(
        schema_comparison.schema_fingerprint(database, tenant.ref.schema)
    )
    if tenant.status == "deleted" and any(line.startswith("- relation") for line in differences):
        return Inconsistency("half_dropped", subject, "deleted, but tables are missing")
    omitted = len(differences) - _MAX_LISTED_DIFFERENCES
    summary = "; ".join(differences[:_MAX_LISTED_DIFFERENCES]) + (
        f"; and {omitted} more" if omitted > 0 else ""
    )
    return Inconsistency("drift", subject, summary)


def _expired_schemas(session: Session, context: CheckContext) -> Iterator[Inconsistency]:
    for replaced in replaced_schemas.list_replaced_schemas(session):
        if replaced.is_expired(context.now):
            yield Inconsistency(
                "kept_schema", replaced.name, f"replaced at {replaced.replaced_at.isoformat()}"
            )


def _rows_without_tenant(session: Session) -> Iterator[Inconsistency]:
    for row in session.execute(_ROWS_WITHOUT_TENANT):
        yield Inconsistency("row_without_tenant", row.which, f"in public.{row.name}")


def _schemas_without_tenant(session: Session, names: Iterable[str]) -> Iterator[Inconsistency]:
    for name in sorted(names):
        count = len(tables.list_tables(session, name))
        yield Inconsistency("schema_without_tenant", name, f"{count} tables")


def _missing_roles(
    session: Session, context: CheckContext, tenant_states: Iterable[TenantState]
) -> Iterator[Inconsistency]:
    """Yield tenants without role.

    Roles are global to the server, so a dump of the database does not contain them.
    """
    if (prefix := context.role_prefix) is None:
        return
    existing = roles.existing_roles(session, prefix=prefix)
    for tenant in tenant_states:
        role = tenant.ref.role(prefix)
        if role not in existing and tenant.revision != PURGING:
            yield Inconsistency("missing_role", str(tenant.ref.id), role)


def _examine_features(
    context: CheckContext, readable_tenants: list[TenantRef]
) -> Iterator[Inconsistency]:
    for start in range(0, len(readable_tenants), _TENANTS_PER_QUERY):
        with public_session(database=context.database) as session:
            batch = readable_tenants[start : start + _TENANTS_PER_QUERY]
            yield from context.services.lifecycle_hooks.examine(session, batch)


def _drop_expired_schemas(context: CheckContext, _: Inconsistency) -> None:
    drop.drop_replaced_schemas(context.database, now=context.now)


def _finish_purge(context: CheckContext, finding: Inconsistency) -> None:
    tenant_id, prefix = UUID(finding.subject), context.role_prefix
    purge.purge_tenant(
        context.database,
        tenant_id=tenant_id,
        role_prefix=prefix,
        now=context.now,
        services=context.services,
    )


def _create_role(context: CheckContext, finding: Inconsistency) -> None:
    if context.role_prefix is not None:
        with public_session(database=context.database) as session:
            roles.ensure_role(session, tenant_id=UUID(finding.subject))


def _drop_if_empty(context: CheckContext, finding: Inconsistency) -> None:
    if context.drop_empty:
        drop.drop_empty(context.database, finding.subject)


def _delete_rows_without_tenant(context: CheckContext, _: Inconsistency) -> None:
    with public_session(database=context.database) as session:
        for statement in _DELETE_ROWS_WITHOUT_TENANT:
            session.execute(text(statement))


def _quarantine_number(context: CheckContext, finding: Inconsistency) -> None:
    """Quarantine the number as if its phone number had been deleted, and unregister it."""
    with public_session(database=context.database) as session:
        did = session.get(Did, finding.subject, with_for_update=True)
        if did is None or did.state != "claimed":
            return
        number_registry.report_change(session, did, is_claimed=False, services=context.services)
        did.state, did.rests_until = "resting", context.now + QUARANTINE
        did.phone_number_id = did.registration_status = None


FIXES: Mapping[str, Callable[[CheckContext, Inconsistency], None]] = {
    "kept_schema": _drop_expired_schemas,
    "half_dropped": _finish_purge,
    "missing_role": _create_role,
    "schema_without_tenant": _drop_if_empty,
    "row_without_tenant": _delete_rows_without_tenant,
    "did_without_phone_number": _quarantine_number,
}
