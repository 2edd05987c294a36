"""Citus, which places each tenant's schema on a node: what it must be told, where it is in use.

Elsewhere nothing here does anything.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

_enabled = False
# What tenants' transactions touch outside their schema is on every node; a table that others refer
# to comes first. Citus lists tables beside a reference table too, of another type.
_CREATE_REFERENCE_TABLE = text("""
SELECT create_reference_table(:table)
WHERE NOT EXISTS (
    SELECT FROM citus_tables
    WHERE table_name = CAST(:table AS regclass) AND citus_table_type = 'reference'
)
""")
_ENABLE_SCHEMA_SHARDING = text("SET LOCAL citus.enable_schema_based_sharding TO on")


def set_enabled(enabled: bool) -> None:
    """Whether the database is a Citus cluster, for this process."""
    global _enabled
    _enabled = enabled


def is_enabled() -> bool:
    """Whether the database is a Citus cluster."""
    return _enabled


def create_reference_tables(session: Session, *tables: str) -> None:
    """Keep whole tables on every node; before there are tenants. Done again, it does nothing."""
    if _enabled:
        for table in tables:
            session.execute(_CREATE_REFERENCE_TABLE, {"table": table})


def enable_schema_sharding(session: Session) -> None:
    """Have a schema that this transaction creates placed on a node, and its tables there."""
    if _enabled:
        session.execute(_ENABLE_SCHEMA_SHARDING)
