"""Compare a tenant's phone numbers with the number registry, for tenant lifecycle operations.

These functions work on several tenants in an owner session, so every table name is qualified.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.services.lifecycle_hooks import Inconsistency
from vca.tenancy.schema import TenantRef

# The numbers of a deleted tenant are in quarantine for it; it gets them back when it is restored.
_DEACTIVATE_UNOWNED_SQL = """
UPDATE "{schema}".phone_numbers p
SET is_active = false, registration_status = 'unregistered', registration_code = 'number-taken',
    registration_detail = 'the number is not this tenant''s', registration_checked_at = NULL,
    registration_next_attempt_at = NULL, updated_at = now()
WHERE p.is_active AND NOT EXISTS (
    SELECT FROM public.dids d WHERE d.phone_number_id = p.id AND d.did_number = p.did_number
      AND d.tenant_id = p.tenant_id AND d.state <> 'assigned')
RETURNING p.id
"""
_ORPHANED_SQL = """
SELECT d.tenant_id, d.did_number FROM public.dids d
WHERE d.tenant_id = '{tenant}' AND d.state = 'claimed' AND NOT EXISTS (
    SELECT FROM "{schema}".phone_numbers p
    WHERE p.id = d.phone_number_id AND p.did_number = d.did_number)
"""


def deactivate_unowned_numbers(session: Session, tenant: TenantRef) -> int:
    """Deactivate phone numbers that the registry does not give this tenant; return their count."""
    return len(session.execute(text(_DEACTIVATE_UNOWNED_SQL.format(schema=tenant.schema))).all())


def find_orphaned_numbers(session: Session, tenants: Sequence[TenantRef]) -> list[Inconsistency]:
    """Return claimed numbers of the registry whose phone number does not exist in its tenant."""
    if not tenants:
        return []
    queries = [_ORPHANED_SQL.format(schema=tenant.schema, tenant=tenant.id) for tenant in tenants]
    rows = session.execute(text(" UNION ALL ".join(queries)))
    return [
        Inconsistency(
            "did_without_phone_number",
            row.did_number,
            f"claimed for a phone number that {row.tenant_id} does not have",
        )
        for row in rows
    ]
