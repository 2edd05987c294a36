"""Which of a tenant's phone numbers the registry backs; for the lifecycle of whole tenants.

These see many tenants at once, as the owner, and so qualify every name.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.registry.tenants.lifecycle_hooks import OrphanedNumber
from vca.tenancy.schema import TenantRef

# A deleted tenant's numbers rest with it, and it gets them back.
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
    """Deactivate the phone numbers whose DID the registry does not give this tenant; how many."""
    return len(session.execute(text(_DEACTIVATE_UNOWNED_SQL.format(schema=tenant.schema))).all())


def find_orphaned_numbers(session: Session, tenants: Sequence[TenantRef]) -> list[OrphanedNumber]:
    """The numbers that the registry says are claimed for a phone number that is not there."""
    if not tenants:
        return []
    queries = [_ORPHANED_SQL.format(schema=tenant.schema, tenant=tenant.id) for tenant in tenants]
    rows = session.execute(text(" UNION ALL ".join(queries)))
    return [OrphanedNumber(row.tenant_id, row.did_number) for row in rows]
