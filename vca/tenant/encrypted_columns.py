"""The encrypted columns, and what becomes of a tenant's under another id.

A value is bound to the tenant that it is of, so that of an archive's rows these alone cannot be
loaded under a new id as they are.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import encryption
from vca.kit.encryption import DecryptionError, EncryptionContext
from vca.tenancy.schema import TenantRef
from vca.tenancy.tables import quote_name

# By table and name; the table's rows have an `id`.
TENANT_COLUMNS = (
    ("webhooks", "secret"),
    ("webhooks", "previous_secret"),
    ("phone_numbers", "decision_secret"),
    ("privacy_requests", "sealed_number"),
    ("telephony_accounts", "sealed"),
)
# The same of `public`.
PLATFORM_COLUMNS = (("webhooks", "secret"), ("webhooks", "previous_secret"))


def re_encrypt_tenant(session: Session, tenant: TenantRef, archived_tenant_id: UUID) -> list[str]:
    """Bind what was `archived` under that id to the tenant; what our keys do not open stays.

    The columns of which something stayed, as table.column. The session is the owner's, in no
    tenant.
    """
    return [
        f"{table}.{column}"
        for table, column in TENANT_COLUMNS
        if not _re_encrypt_column(session, tenant, archived_tenant_id, table, column)
    ]


def _re_encrypt_column(
    session: Session, tenant: TenantRef, archived_tenant_id: UUID, table: str, column: str
) -> bool:
    """Whether every value could be opened; those that could are bound to the tenant."""
    keys, complete = encryption.current_keyring(), True
    table_name, column_name = quote_name(tenant.schema, table), quote_name(column)
    update = text(f"UPDATE {table_name} SET {column_name} = :value WHERE id = :id")
    for id, value in session.execute(
        text(f"SELECT id, {column_name} FROM {table_name} WHERE {column_name} IS NOT NULL")
    ).all():
        try:
            plaintext = keys.decrypt(
                bytes(value), EncryptionContext(archived_tenant_id, table, id, column)
            )
        except DecryptionError:
            complete = False
            continue
        if archived_tenant_id != tenant.id:
            encrypted = keys.encrypt(plaintext, EncryptionContext(tenant.id, table, id, column))
            session.execute(update, {"value": encrypted, "id": id})
    return complete
