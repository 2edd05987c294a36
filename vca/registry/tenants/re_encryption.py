"""Encrypt the values of an imported tenant again, because each is bound to its tenant's id."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit.encryption import DecryptionError, EncryptionContext
from vca.services import Services
from vca.services.lifecycle_hooks import FeatureHooks
from vca.tenancy.schema import TenantRef
from vca.tenancy.tables import quote_name


def re_encrypt_tenant(
    session: Session,
    tenant: TenantRef,
    hooks: FeatureHooks,
    *,
    services: Services,
    archived_id: UUID,
) -> list[str]:
    """Bind the encrypted values of an imported tenant to its present id.

    `archived_id` is the id under which the values were encrypted. Values that none of our keys can
    decrypt stay unchanged. Return the columns that contain such values, as `table.column`. The
    session must be an owner session that is not inside a tenant.
    """
    return [
        f"{table}.{column}"
        for table, column in hooks.encrypted_columns
        if not _re_encrypt_column(session, tenant, archived_id, table, column, services=services)
    ]


def _re_encrypt_column(
    session: Session,
    tenant: TenantRef,
    archived_id: UUID,
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
                bytes(value), EncryptionContext(archived_id, table, id, column)
            )
        except DecryptionError:
            complete = False
            continue
        if archived_id != tenant.id:
            encrypted = keys.encrypt(plaintext, EncryptionContext(tenant.id, table, id, column))
            session.execute(update, {"value": encrypted, "id": id})
    return complete
