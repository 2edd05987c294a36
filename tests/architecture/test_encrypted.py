"""Every encrypted column is known to those who seal anew: a new one cannot be forgotten."""

from sqlalchemy import LargeBinary, MetaData

from vca.registry.models import metadata as public
from vca.tenant.encrypted_columns import PLATFORM_COLUMNS, TENANT_COLUMNS
from vca.tenant.models import metadata as tenants

# Bytes that are no secret of ours to open, and why.
NOT_SEALED = {("api_keys", "key_hash"): "a keyed hash, which moves to a new pepper as it is used"}


def _bytes(metadata: MetaData) -> set[tuple[str, str]]:
    return {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    } - NOT_SEALED.keys()


def test_every_column_of_bytes_of_a_tenant_is_sealed_anew() -> None:
    assert _bytes(tenants) == set(TENANT_COLUMNS)


def test_every_column_of_bytes_of_public_is_sealed_anew() -> None:
    assert _bytes(public) == set(PLATFORM_COLUMNS)
    assert {(table.name, column.name) for table in public.sorted_tables for column in table.c} >= (
        NOT_SEALED.keys()
    )


def test_whatever_is_sealed_anew_is_found_by_its_id() -> None:
    for metadata, columns in ((tenants, TENANT_COLUMNS), (public, PLATFORM_COLUMNS)):
        for name, _ in columns:
            [table] = [each for each in metadata.tables.values() if each.name == name]
            assert list(table.primary_key.columns.keys()) == ["id"]
