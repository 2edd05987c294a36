"""A copy of a tenant beside the tenant itself, for the lifecycle of whole tenants."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef

_HUSH = 'UPDATE "{schema}".webhooks SET is_active = false, updated_at = now() WHERE is_active'


def hush(session: Session, tenant: TenantRef) -> int:
    """Make the tenant's webhooks inactive, whose receivers are the other's; how many.

    The session is the owner's, in no tenant.
    """
    found = session.execute(text(f"{_HUSH.format(schema=tenant.schema)} RETURNING id"))
    return len(found.all())
