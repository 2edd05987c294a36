"""List the tables of a schema from the catalogue, each after the tables that it refers to."""

from dataclasses import dataclass
from graphlib import TopologicalSorter

from sqlalchemy import text
from sqlalchemy.orm import Session

# `relations` is what dropping the table locks: the table, its indexes, its TOAST table and that
# table's index.
_TABLES = text("""
SELECT t.relname::text AS name,
    ARRAY(SELECT a.attname::text FROM pg_attribute a
          WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attgenerated = '' ORDER BY a.attnum) AS columns,
    ARRAY(SELECT r.relname::text FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid
          WHERE c.conrelid = t.oid AND c.contype = 'f' AND c.confrelid <> t.oid
            AND r.relnamespace = t.relnamespace AND NOT r.relispartition
          UNION
          SELECT p.relname::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
          WHERE i.inhrelid = t.oid) AS needs,
    1 + (SELECT count(*) FROM pg_index i WHERE i.indrelid = t.oid)
      + CASE WHEN t.reltoastrelid <> 0 THEN 2 ELSE 0 END AS relations,
    t.relispartition AS partition
FROM pg_class t
WHERE t.relnamespace = to_regnamespace(CAST(:schema AS text)) AND t.relkind IN ('r', 'p')
ORDER BY t.relname
""")


@dataclass(frozen=True)
class Table:
    """A table of a schema; `columns` are the columns that can be written."""

    name: str
    columns: tuple[str, ...]
    relation_count: int
    is_partition: bool


def list_tables(session: Session, schema: str) -> list[Table]:
    """Return the tables of a schema, including partitions; none refers to a later one."""
    rows = {row.name: row for row in session.execute(_TABLES, {"schema": schema})}
    order = TopologicalSorter({name: row.needs for name, row in rows.items()}).static_order()
    ordered_rows = (rows[name] for name in order if name in rows)
    return [Table(r.name, tuple(r.columns), r.relations, r.partition) for r in ordered_rows]


def without_partitions(all_tables: list[Table]) -> list[Table]:
    """Return the tables that rows are read from and written to.

    Rows of a partition are accessed through its parent table.
    """
    return [table for table in all_tables if not table.is_partition]


def quote_name(*names: str) -> str:
    """Return the names as one qualified SQL identifier."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
