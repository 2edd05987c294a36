"""List the encrypted columns, and re-encrypt a tenant's values under another tenant id.

Each encrypted value is bound to its tenant. After an import under a new id, these columns are the
only ones whose archived values cannot be used unchanged.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit.encryption import DecryptionError, EncryptionContext
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.tables import quote_name

# (table, column) in a tenant's schema. Each of these tables has an `id` column.
TENANT_COLUMNS = (
    ("webhooks", "secret"),
    ("webhooks", "previous_secret"),
    ("phone_numbers", "decision_secret"),
    ("privacy_requests", "sealed_number"),
    ("telephony_accounts", "sealed"),
)
# (table, column) in the `public` schema.
PLATFORM_COLUMNS = (("webhooks", "secret"), ("webhooks", "previous_secret"))


def re_encrypt_tenant(
    session: Session, tenant: TenantRef, archived_tenant_id: UUID, *, services: Services
) -> list[str]:
    """Bind the encrypted values of an imported tenant to its present id.

    `archived_tenant_id` is the id under which the values were encrypted. Values that none of our
    keys can decrypt stay unchanged. Return the columns that contain such values, as `table.column`.
    The session must be an owner session that is not inside a tenant.
    """
    return [
        f"{table}.{column}"
        for table, column in TENANT_COLUMNS
        if not _re_encrypt_column(
            session, tenant, archived_tenant_id, table, column, services=services
        )
    ]


def _re_encrypt_column(
    session: Session,
    tenant: TenantRef,
    archived_tenant_id: UUID,
    table: str,
    column: str,
    *,
    services: Services,
) -> bool:
    """Re-encrypt every readable value of a column; return whether all values were readable."""
    keys, complete = services.keyring, True
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
