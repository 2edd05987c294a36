"""Find what Citus forbids in a sharded schema, in the catalogue and in scripts."""

import re
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import Connection, text

# Selects the tables of the schema, for each rule.
_SCHEMA_TABLES = """
WITH own AS (
    SELECT oid, relname, relkind, relpersistence FROM pg_class
    WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('r', 'p', 'f')
)
"""
# Each query selects the names of the objects that violate the rule.
RULES: Mapping[str, str] = {
    "every table has a primary key": """
        SELECT relname FROM own
        WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = own.oid AND contype = 'p')
    """,
    "primary keys begin with a uuid": """
        SELECT c.conname FROM pg_constraint c JOIN own ON own.oid = c.conrelid
        JOIN pg_attribute a ON a.attrelid = own.oid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'p' AND a.atttypid <> 'uuid'::regtype
    """,
    "nothing counts": """
        SELECT relname FROM pg_class
        WHERE relnamespace = to_regnamespace(:schema) AND relkind = 'S'
        UNION ALL
        SELECT own.relname || '.' || a.attname FROM own JOIN pg_attribute a ON a.attrelid = own.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = own.oid AND d.adnum = a.attnum
        WHERE a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval%'
    """,
    "constraints are named by the convention": """
        SELECT c.conname FROM pg_constraint c JOIN own ON own.oid = c.conrelid
        JOIN LATERAL (
            SELECT string_agg(a.attname, '_' ORDER BY k.n) AS names,
                   min(a.attname) FILTER (WHERE k.n = 1) AS first
            FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
            JOIN pg_attribute a ON a.attrelid = own.oid AND a.attnum = k.attnum
        ) AS columns ON true
        WHERE c.contype <> 'n' AND c.conname !~ ('^' || own.relname || CASE c.contype
            WHEN 'p' THEN '_pkey$'
            WHEN 'u' THEN '_' || columns.names || '_key$'
            WHEN 'f' THEN '_' || columns.first || '_fkey$'
            ELSE '_[a-z_]+_check$' END)
    """,
    "nothing is triggered": """
        SELECT tgname FROM pg_trigger JOIN own ON own.oid = tgrelid WHERE NOT tgisinternal
    """,
    "foreign keys stay in the schema": """
        SELECT conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.confrelid
        WHERE c.connamespace = to_regnamespace(:schema) AND t.relnamespace <> c.connamespace
    """,
    "nobody outside refers to it": """
        SELECT conname FROM pg_constraint c JOIN own ON own.oid = c.confrelid
        WHERE c.connamespace <> to_regnamespace(:schema)
    """,
    "every table is logged": "SELECT relname FROM own WHERE relpersistence <> 'p'",
    "nothing inherits": """
        SELECT own.relname FROM pg_inherits JOIN own ON own.oid = inhrelid
        WHERE own.relkind = 'r' AND NOT EXISTS
            (SELECT FROM pg_class WHERE oid = inhrelid AND relispartition)
    """,
    "there are tables only": """
        SELECT relname FROM pg_class
        WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('v', 'm', 'f')
        UNION ALL
        SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)
    """,
}

_CONSTRAINT = re.compile(
    r"(\bCONSTRAINT\s+\w+\s+)?\b(CHECK|UNIQUE|PRIMARY\s+KEY|FOREIGN\s+KEY|EXCLUDE)\b", re.IGNORECASE
)
_REFERENCES = re.compile(r"\bREFERENCES\b", re.IGNORECASE)
_ADD_COLUMN = re.compile(r"\bADD\s+COLUMN\b", re.IGNORECASE)
_FOREIGN_KEY = re.compile(r"\bFOREIGN\s+KEY\b", re.IGNORECASE)
_INDEX = re.compile(r"CREATE\s+(UNIQUE\s+)?INDEX\b", re.IGNORECASE)


def broken_rules(connection: Connection, schema: str) -> dict[str, list[str]]:
    """Return the violated rules of a schema, with the names of the objects that violate them."""
    violations = {}
    for rule, query in RULES.items():
        names = connection.scalars(text(_SCHEMA_TABLES + query), {"schema": schema}).all()
        if names:
            violations[rule] = sorted(names)
    return violations


def unnamed_constraints(statements: Iterable[str]) -> Iterator[str]:
    """Yield statements with an unnamed constraint, and those that add a constrained column.

    Postgres generates names for unnamed constraints. They look like ours, so the catalogue cannot
    tell.
    """
    for statement in statements:
        if _INDEX.match(statement):
            continue
        constraint_names = [match[1] for match in _CONSTRAINT.finditer(statement)]
        has_inline_reference = len(_REFERENCES.findall(statement)) > len(
            _FOREIGN_KEY.findall(statement)
        )
        adds_constrained_column = _ADD_COLUMN.search(statement) and (
            constraint_names or has_inline_reference
        )
        if not all(constraint_names) or has_inline_reference or adds_constrained_column:
            yield statement
