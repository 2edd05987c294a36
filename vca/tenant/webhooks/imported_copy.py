"""A copy of a tenant beside the tenant itself, for the lifecycle of whole tenants."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef

_MUTE_SQL = 'UPDATE "{schema}".webhooks SET is_active = false, updated_at = now() WHERE is_active'


def mute_webhooks(session: Session, tenant: TenantRef) -> int:
    """Make the tenant's webhooks inactive, whose receivers are the other's; how many.

    The session is the owner's, in no tenant.
    """
    rows = session.execute(text(f"{_MUTE_SQL.format(schema=tenant.schema)} RETURNING id"))
    return len(rows.all())
