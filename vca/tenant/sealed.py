"""The encrypted columns, and what becomes of a tenant's under another id.

A value is bound to the tenant that it is of, so that of an archive's rows these alone cannot be
loaded under a new id as they are.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import at_rest
from vca.kit.at_rest import CannotOpen, Place
from vca.tenancy.schema import TenantRef
from vca.tenancy.tables import quoted

# By table and name; the table's rows have an `id`.
ENCRYPTED = (
    ("webhooks", "secret"),
    ("webhooks", "previous_secret"),
    ("phone_numbers", "decision_secret"),
    ("privacy_requests", "sealed_number"),
    ("telephony_accounts", "sealed"),
)
# The same of `public`.
PLATFORMS = (("webhooks", "secret"), ("webhooks", "previous_secret"))


def reseal(session: Session, tenant: TenantRef, archived: UUID) -> list[str]:
    """Bind what was `archived` under that id to the tenant; what our keys do not open stays.

    The columns of which something stayed, as table.column. The session is the owner's, in no
    tenant.
    """
    return [
        f"{table}.{column}"
        for table, column in ENCRYPTED
        if not _resealed(session, tenant, archived, table, column)
    ]


def _resealed(session: Session, tenant: TenantRef, archived: UUID, table: str, column: str) -> bool:
    """Whether every value could be opened; those that could are bound to the tenant."""
    keys, whole = at_rest.current(), True
    where, what = quoted(tenant.schema, table), quoted(column)
    change = text(f"UPDATE {where} SET {what} = :value WHERE id = :id")
    for id, value in session.execute(
        text(f"SELECT id, {what} FROM {where} WHERE {what} IS NOT NULL")
    ).all():
        try:
            opened = keys.open(bytes(value), Place(archived, table, id, column))
        except CannotOpen:
            whole = False
            continue
        if archived != tenant.id:
            sealed = keys.seal(opened, Place(tenant.id, table, id, column))
            session.execute(change, {"value": sealed, "id": id})
    return whole
