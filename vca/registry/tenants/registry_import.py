"""Import a tenant's rows of `public`: the tenant, its numbers, API keys and audit entries.

The archived rows are in temporary tables of the transaction. The database resolves races.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.registry.audit.models import PlatformAuditEntry
from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.service import QUARANTINE
from vca.registry.tenants.models import Tenant
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.tables import quote_name

_DATE_COLUMNS = ("created_at", "updated_at", "deleted_at")
# A number has a phone number's id while it is claimed, and while it is quarantined for a deleted
# tenant. Both are the same number; the tenant's status decides which state it gets.
_QUARANTINE_MISSING_NUMBERS = text("""
WITH gone AS (
    SELECT d.did_number, d.phone_number_id, d.provider_type, d.telephony_account_id
    FROM public.dids d
    WHERE d.tenant_id = :tenant AND d.phone_number_id IS NOT NULL AND d.state <> 'assigned'
      AND NOT EXISTS (SELECT FROM pg_temp.archived_dids a
                      WHERE a.did_number = d.did_number AND a.phone_number_id IS NOT NULL)
    FOR UPDATE
)
UPDATE public.dids d
SET state = 'resting', rests_until = coalesce(d.rests_until, now() + :rest),
    phone_number_id = NULL, registration_status = NULL, updated_at = now()
FROM gone WHERE gone.did_number = d.did_number
RETURNING d.tenant_id, gone.did_number, gone.phone_number_id, gone.provider_type,
          gone.telephony_account_id
""")
_CLAIM_ARCHIVED_NUMBERS = text("""
WITH wanted AS (
    SELECT a.*, CASE WHEN a.phone_number_id IS NULL OR a.state = 'assigned' THEN a.state
                     WHEN :deleted THEN 'resting' ELSE 'claimed' END AS wanted_state
    FROM pg_temp.archived_dids a
)
INSERT INTO public.dids AS d (did_number, tenant_id, state, phone_number_id, provider_type,
                              telephony_account_id, previous_provider_type, previous_account_id,
                              previous_until, registration_status, rests_until)
SELECT w.did_number, :tenant, w.wanted_state, w.phone_number_id, w.provider_type,
       w.telephony_account_id, w.previous_provider_type, w.previous_account_id, w.previous_until,
       CASE WHEN w.wanted_state = 'claimed' THEN 'pending' END,
       CASE WHEN w.wanted_state = 'resting' THEN coalesce(w.rests_until, now() + :rest) END
FROM wanted w
WHERE NOT (:deleted AND w.state = 'assigned')
  AND (w.state <> 'resting' OR w.phone_number_id IS NOT NULL OR w.rests_until > now())
ON CONFLICT (did_number) DO UPDATE
SET tenant_id = excluded.tenant_id, state = excluded.state,
    phone_number_id = excluded.phone_number_id, provider_type = excluded.provider_type,
    telephony_account_id = excluded.telephony_account_id,
    previous_provider_type = excluded.previous_provider_type,
    previous_account_id = excluded.previous_account_id, previous_until = excluded.previous_until,
    registration_status = excluded.registration_status, rests_until = excluded.rests_until,
    updated_at = now()
WHERE d.tenant_id = excluded.tenant_id OR (d.state = 'resting' AND d.rests_until <= now())
RETURNING tenant_id, did_number, phone_number_id, provider_type, telephony_account_id, state
""")
_UNAVAILABLE_NUMBERS = text("""
SELECT a.did_number FROM pg_temp.archived_dids a
WHERE (a.phone_number_id IS NOT NULL OR a.state = 'assigned') AND EXISTS (
    SELECT FROM public.dids d WHERE d.did_number = a.did_number AND d.tenant_id <> :tenant)
ORDER BY a.did_number
""")
_INSERT_KEYS = text("""
INSERT INTO public.api_keys (id, tenant_id, prefix, key_hash, name, scopes, expires_at,
                             revoked_at, last_used_at, created_at)
SELECT id, :tenant, prefix, key_hash, name, scopes, expires_at, revoked_at, last_used_at, created_at
FROM pg_temp.archived_api_keys
ON CONFLICT DO NOTHING
RETURNING id
""")
# Entries go to the tenant's own table. The platform's entries are of this deployment only.
_INSERT_AUDIT_ENTRIES = """
INSERT INTO {table} ({columns}) SELECT {columns} FROM pg_temp.archived_audit_entries a
WHERE NOT EXISTS (SELECT FROM public.audit_entries p WHERE (p.tenant_id, p.id) = (:tenant, a.id))
ON CONFLICT (id) DO NOTHING
"""
_AUDIT_COLUMNS = ", ".join(PlatformAuditEntry.__table__.columns.keys())
_COUNT_ARCHIVED_KEYS = text("SELECT count(*) FROM pg_temp.archived_api_keys")


def parse_tenant_row(archived_row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the archived tenant's row; raise KeyError, TypeError or ValueError if invalid."""
    row = {name: archived_row[name] for name in ("name", "plan", "status", "external_id")}
    if not all(isinstance(value, str) for name, value in row.items() if name != "external_id"):
        raise TypeError("not a tenant's row")
    if not isinstance(row["external_id"], str | None):
        raise TypeError("not an external id")
    dates = {
        name: archived_row[name] and datetime.fromisoformat(archived_row[name])
        for name in _DATE_COLUMNS
    }
    return {**row, **dates}


def add_tenant_row(
    session: Session, *, tenant_id: UUID, archived_row: Mapping[str, Any], revision: str
) -> Tenant:
    """Insert the row of a new tenant, with the status that it was exported with."""
    columns = {name: archived_row[name] for name in ("name", "plan", "status", *_DATE_COLUMNS)}
    tenant = Tenant(id=tenant_id, schema_revision=revision, **columns)
    session.add(tenant)
    session.flush()
    return tenant


def assign_external_id(session: Session, tenant: Tenant, *, external_id: str | None) -> bool:
    """Assign the external id unless another tenant has it; return whether it was free."""
    other = select(Tenant.id).where(Tenant.external_id == external_id, Tenant.id != tenant.id)
    is_free = external_id is None or session.scalar(other) is None
    if is_free:
        tenant.external_id = external_id
        session.flush()
    return is_free


def import_numbers(
    session: Session, tenant: Tenant, *, services: Services
) -> tuple[list[str], list[str]]:
    """Claim the archived numbers that are free; return (claimed, unavailable).

    Claimed numbers are registered again. A number that the tenant has but the archive does not is
    quarantined and unregistered.
    """
    parameters = {"tenant": tenant.id, "rest": QUARANTINE, "deleted": tenant.status == "deleted"}
    quarantine_parameters = {name: parameters[name] for name in ("tenant", "rest")}
    for did in session.execute(_QUARANTINE_MISSING_NUMBERS, quarantine_parameters).all():
        number_registry.report_change(session, did, is_claimed=False, services=services)
    claimed_numbers = []
    for did in session.execute(_CLAIM_ARCHIVED_NUMBERS, parameters).all():
        if did.state == "claimed":
            claimed_numbers.append(did.did_number)
            number_registry.report_change(session, did, is_claimed=True, services=services)
    unavailable = session.scalars(_UNAVAILABLE_NUMBERS, {"tenant": tenant.id}).all()
    return sorted(claimed_numbers), list(unavailable)


def import_keys(session: Session, tenant: Tenant) -> tuple[int, int]:
    """Add the archived API keys whose id and prefix are free; return (added, left out).

    An existing key stays as it is, also if it is revoked. An imported key only works with the
    pepper that it was created with.
    """
    added = len(session.execute(_INSERT_KEYS, {"tenant": tenant.id}).all())
    return added, (session.scalar(_COUNT_ARCHIVED_KEYS) or 0) - added


def import_audit_entries(session: Session, tenant: TenantRef) -> None:
    """Add the archived platform entries of the tenant to the tenant's own audit log."""
    statement = _INSERT_AUDIT_ENTRIES.format(
        table=quote_name(tenant.schema, "audit_entries"), columns=_AUDIT_COLUMNS
    )
    session.execute(text(statement), {"tenant": tenant.id})
