"""Citus, which places each tenant's schema on a node: what it must be told, where it is in use.

Elsewhere nothing here does anything.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

_in_use = False
# What tenants' transactions touch outside their schema is on every node; a table that others refer
# to comes first. Citus lists tables beside a reference table too, of another type.
_SHARE = text("""
SELECT create_reference_table(:table)
WHERE NOT EXISTS (
    SELECT FROM citus_tables
    WHERE table_name = CAST(:table AS regclass) AND citus_table_type = 'reference'
)
""")
_PLACE = text("SET LOCAL citus.enable_schema_based_sharding TO on")


def use(it: bool) -> None:
    """Whether the database is a Citus cluster, for this process."""
    global _in_use
    _in_use = it


def in_use() -> bool:
    """Whether the database is a Citus cluster."""
    return _in_use


def share(session: Session, *tables: str) -> None:
    """Keep whole tables on every node; before there are tenants. Done again, it does nothing."""
    if _in_use:
        for table in tables:
            session.execute(_SHARE, {"table": table})


def place_new_schemas(session: Session) -> None:
    """Have a schema that this transaction creates placed on a node, and its tables there."""
    if _in_use:
        session.execute(_PLACE)
