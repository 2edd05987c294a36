"""Mute the webhooks of a tenant that was imported as a copy of an existing one."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef

_MUTE_SQL = 'UPDATE "{schema}".webhooks SET is_active = false, updated_at = now() WHERE is_active'


def mute_webhooks(session: Session, tenant: TenantRef) -> int:
    """Deactivate the tenant's webhooks and return how many there were.

    Their receivers belong to the original tenant. The session must be an owner session that is not
    inside a tenant.
    """
    rows = session.execute(text(f"{_MUTE_SQL.format(schema=tenant.schema)} RETURNING id"))
    return len(rows.all())
