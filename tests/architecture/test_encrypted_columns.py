"""Key rotation re-encrypts every encrypted column."""

from sqlalchemy import LargeBinary, MetaData

from vca.registry.models import metadata as public_metadata
from vca.tenant.encrypted_columns import PLATFORM_COLUMNS, TENANT_COLUMNS
from vca.tenant.models import metadata as tenant_metadata

# Columns of bytes that are not encrypted, and the reason.
NOT_ENCRYPTED = {
    (
        "api_keys",
        "key_hash",
    ): "a keyed hash, which is replaced when the key is used after a new pepper"
}


def _encrypted_columns(metadata: MetaData) -> set[tuple[str, str]]:
    return {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    } - NOT_ENCRYPTED.keys()


def test_every_encrypted_column_of_a_tenant_is_re_encrypted() -> None:
    assert _encrypted_columns(tenant_metadata) == set(TENANT_COLUMNS)


def test_every_encrypted_column_of_the_platform_is_re_encrypted() -> None:
    assert _encrypted_columns(public_metadata) == set(PLATFORM_COLUMNS)
    assert {
        (table.name, column.name) for table in public_metadata.sorted_tables for column in table.c
    } >= (NOT_ENCRYPTED.keys())


def test_tables_with_encrypted_columns_have_the_primary_key_id() -> None:
    for metadata, columns in (
        (tenant_metadata, TENANT_COLUMNS),
        (public_metadata, PLATFORM_COLUMNS),
    ):
        for name, _ in columns:
            [table] = [
                candidate for candidate in metadata.tables.values() if candidate.name == name
            ]
            assert list(table.primary_key.columns.keys()) == ["id"]
