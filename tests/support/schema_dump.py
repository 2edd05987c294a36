"""Describe a schema in lines that can be compared with another schema's."""

from sqlalchemy import Connection, text

_COLUMNS = """
SELECT format('column %s.%s %s%s%s', t.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' END,
              ' default ' || pg_get_expr(d.adbin, d.adrelid))
FROM pg_class t
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
WHERE t.relnamespace = to_regnamespace(:schema) AND t.relkind IN ('r', 'p')
"""
_CONSTRAINTS = """
SELECT format('constraint %s %s %s', t.relname, c.conname, pg_get_constraintdef(c.oid))
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE t.relnamespace = to_regnamespace(:schema) AND c.contype <> 'n'
"""
_INDEXES = "SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = :schema"
_OTHER_OBJECTS = """
SELECT format('relation %s %s %s', relname, relkind, relpersistence) FROM pg_class
WHERE relnamespace = to_regnamespace(:schema) AND relkind <> 'i'
UNION ALL
SELECT format('function %s %s', oid::regprocedure, md5(prosrc)) FROM pg_proc
WHERE pronamespace = to_regnamespace(:schema)
UNION ALL
SELECT format('trigger %s', tgname) FROM pg_trigger JOIN pg_class t ON t.oid = tgrelid
WHERE t.relnamespace = to_regnamespace(:schema) AND NOT tgisinternal
UNION ALL
SELECT format('type %s %s %s', typname, typtype,
              (SELECT string_agg(enumlabel, ' ' ORDER BY enumsortorder) FROM pg_enum
               WHERE enumtypid = y.oid))
FROM pg_type y WHERE typnamespace = to_regnamespace(:schema) AND typrelid = 0 AND typelem = 0
"""


def dump_schema(connection: Connection, schema: str) -> set[str]:
    """Return tables, columns, types, nullability, defaults, constraints, indexes and other objects.

    The lines omit the schema's name, so that two schemas can be equal.
    """
    dump_lines: set[str] = set()
    for query in (_COLUMNS, _CONSTRAINTS, _INDEXES, _OTHER_OBJECTS):
        lines = connection.scalars(text(query), {"schema": schema}).all()
        dump_lines |= {line.replace(f'"{schema}".', "").replace(f"{schema}.", "") for line in lines}
    return dump_lines
