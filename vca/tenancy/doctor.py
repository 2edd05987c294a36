"""Compare thousands of schemas with what the migrations make, a few hundred in each query."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit.db.bulk import Bulk
from vca.tenancy import loading, schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

# A server process keeps the catalogue of each schema that it has seen: a connection for each batch.
BATCH = 500
_SCHEMAS = text("SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^t_[0-9a-f]{32}$'")
# A line for all that can differ, without the schema's own name and id.
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
_OF_ONE = text(
    f"{_LINES} SELECT coalesce({_DIGEST}, ''), coalesce(array_agg(line), '{{}}') FROM lines"
)


@dataclass(frozen=True)
class Shape:
    """All that is in a schema, as comparable lines, and their digest."""

    digest: str
    lines: frozenset[str]

    def differences(self, other: "Shape") -> list[str]:
        """What the other lacks, with a minus, and has too much, with a plus; whole tables first."""
        found = [f"- {line}" for line in sorted(self.lines - other.lines)]
        found += [f"+ {line}" for line in sorted(other.lines - self.lines)]
        return sorted(found, key=lambda line: not line[2:].startswith("relation"))


# By the database and what makes it.
_made: dict[tuple[str, str], Shape] = {}


def schemas(session: Session) -> set[str]:
    """The names of all tenants' schemas."""
    return set(session.scalars(_SCHEMAS))


def fresh(database: Bulk, revision: str) -> Shape:
    """What the migrations make at `revision`: once in a process it is made, and taken back."""
    what = database.dsn, schema.compile_script(upto=revision)
    if what not in _made:
        _made[what] = _make(database, revision)
    return _made[what]


def shape(database: Bulk, name: str) -> Shape:
    """What is in one schema."""
    with public(database=database) as session:
        return _shape(session, name)


def digests(database: Bulk, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(schema, digest) of each schema that has anything in it."""
    for batch in batches(names):
        with public(database=database) as session:
            yield from ((row[0], row[1]) for row in session.execute(_DIGESTS, {"names": batch}))


def batches(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """The names in lists that one query, and one server process, can bear."""
    rest = iter(sorted(names))
    while batch := list(islice(rest, BATCH)):
        yield batch


def _make(database: Bulk, revision: str) -> Shape:
    tenant = TenantRef(uuid4())
    with public(database=database) as session:
        loading.make(session, tenant, tenant.schema, revision=revision)
        found = _shape(session, tenant.schema)
        session.rollback()
    return found


def _shape(session: Session, name: str) -> Shape:
    digest, lines = session.execute(_OF_ONE, {"names": [name]}).one()
    return Shape(digest, frozenset(lines))
