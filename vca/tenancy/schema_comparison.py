"""Compare thousands of schemas with what the migrations create, a few hundred per query."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit.db.copy_driver import BulkDatabase
from vca.tenancy import archive_import, schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

# Each batch gets its own connection, because a server process caches the catalogue of each schema
# that it reads, and its memory grows with it.
SCHEMAS_PER_QUERY = 500
_SCHEMAS = text("SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^t_[0-9a-f]{32}$'")
# One line for each thing that can differ, without the schema's own name and the tenant's id.
_LINES = r"""
WITH schemas AS (
    SELECT oid, nspname::text AS name, substr(nspname, 3)::uuid::text AS tenant
    FROM pg_namespace WHERE nspname = ANY(CAST(:names AS name[]))
), relations AS (
    SELECT s.name AS schema, t.oid, t.relname, t.relkind, t.relpersistence
    FROM schemas s JOIN pg_class t ON t.relnamespace = s.oid AND t.relkind NOT IN ('i', 'I')
), found AS (
    SELECT schema, format('relation %s %s %s', relname, relkind, relpersistence) AS line
    FROM relations
    UNION ALL
    SELECT r.schema, format('column %s.%s %s%s%s%s', r.relname, a.attname,
        format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' END,
        ' default ' || pg_get_expr(d.adbin, d.adrelid), ' ' || nullif(a.attgenerated::text, ''))
    FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
        AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p')
    UNION ALL
    SELECT r.schema,
        format('constraint %s %s %s', r.relname, c.conname, pg_get_constraintdef(c.oid))
    FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype <> 'n'
    UNION ALL
    SELECT r.schema, format('index %s%s', pg_get_indexdef(i.indexrelid),
        CASE WHEN NOT i.indisvalid THEN ' INVALID' END)
    FROM relations r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT r.schema, format('trigger %s %s', r.relname, g.tgname)
    FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT s.name, format('function %s %s', p.proname, md5(p.prosrc))
    FROM schemas s JOIN pg_proc p ON p.pronamespace = s.oid
    UNION ALL
    SELECT s.name, format('type %s %s', y.typname,
        (SELECT string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder) FROM pg_enum e
         WHERE e.enumtypid = y.oid))
    FROM schemas s JOIN pg_type y ON y.typnamespace = s.oid AND y.typrelid = 0 AND y.typelem = 0
), lines AS (
    SELECT f.schema, replace(replace(f.line, s.name || '.', ''), s.tenant, '<tenant>') AS line
    FROM found f JOIN schemas s ON s.name = f.schema
)
"""
_DIGEST = 'md5(string_agg(line, chr(10) ORDER BY line COLLATE "C"))'
_DIGESTS = text(f"{_LINES} SELECT schema, {_DIGEST} FROM lines GROUP BY schema")
_DIGEST_AND_LINES = text(
    f"{_LINES} SELECT coalesce({_DIGEST}, ''), coalesce(array_agg(line), '{{}}') FROM lines"
)


@dataclass(frozen=True)
class SchemaFingerprint:
    """The contents of a schema as comparable lines, and their digest."""

    digest: str
    lines: frozenset[str]

    def differences(self, other: "SchemaFingerprint") -> list[str]:
        """Return the lines that `other` lacks with a minus, and its extra lines with a plus.

        Whole tables come first.
        """
        changed_lines = [f"- {line}" for line in sorted(self.lines - other.lines)]
        changed_lines += [f"+ {line}" for line in sorted(other.lines - self.lines)]
        return sorted(changed_lines, key=lambda line: not line[2:].startswith("relation"))


# The key is (DSN, script).
_reference_fingerprints: dict[tuple[str, str], SchemaFingerprint] = {}


def list_tenant_schemas(session: Session) -> set[str]:
    """Return the names of all tenants' schemas."""
    return set(session.scalars(_SCHEMAS))


def reference_fingerprint(database: BulkDatabase, revision: str) -> SchemaFingerprint:
    """Return the fingerprint of the schema that the migrations create at `revision`.

    The schema is created and rolled back once per process.
    """
    script = schema.compile_script(to_revision=revision, for_citus=False)
    cache_key = database.dsn, script
    if cache_key not in _reference_fingerprints:
        _reference_fingerprints[cache_key] = _build_reference(database, revision)
    return _reference_fingerprints[cache_key]


def schema_fingerprint(database: BulkDatabase, name: str) -> SchemaFingerprint:
    """Return the fingerprint of one schema."""
    with public_session(database=database) as session:
        return _fingerprint(session, name)


def schema_digests(database: BulkDatabase, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (schema, digest) for each schema that is not empty."""
    for batch in batch_names(names):
        with public_session(database=database) as session:
            yield from ((row[0], row[1]) for row in session.execute(_DIGESTS, {"names": batch}))


def batch_names(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield the names in lists that are small enough for one query and one server process."""
    remaining = iter(sorted(names))
    while batch := list(islice(remaining, SCHEMAS_PER_QUERY)):
        yield batch


def _build_reference(database: BulkDatabase, revision: str) -> SchemaFingerprint:
    tenant = TenantRef(uuid4())
    with public_session(database=database) as session:
        archive_import.create_schema(session, tenant, tenant.schema, revision=revision)
        fingerprint = _fingerprint(session, tenant.schema)
        session.rollback()
    return fingerprint


def _fingerprint(session: Session, name: str) -> SchemaFingerprint:
    digest, lines = session.execute(_DIGEST_AND_LINES, {"names": [name]}).one()
    return SchemaFingerprint(digest, frozenset(lines))
