"""Schema names of tenants, and the tenant migrations compiled to one SQL script.

Alembic is imported when a migration is first read. Most commands do not need it, and it takes a
fifth of their start-up time.
"""

import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from vca.kit.errors import Conflict, Unavailable
from vca.settings import ROOT
from vca.tenancy import sql_splitter

if TYPE_CHECKING:
    from alembic.script import Script, ScriptDirectory

# Placeholders of a compiled script for the schema, the tenant and the roles that get its tables.
# `render_for_tenant` and `public.create_tenant` replace them.
SCHEMA_SENTINEL = "t_5ca1ab1e0000400080000000000000ff"
TENANT_SENTINEL = "5ca1ab1e-0000-4000-8000-0000000000ff"
GRANTEES_SENTINEL = '"5ca1ab1e_grantees"'
_DO_BLOCK = "DO {tag}\nBEGIN\n{lines}\nEND\n{tag};"
_NAME = re.compile(r"t_[0-9a-f]{32}", re.ASCII)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX ")
# The revisions that the baselines of both trees, 0100, have replaced. No release had them.
_BEFORE_BASELINE = re.compile(r"00\d\d", re.ASCII)
_RETRY_AFTER_S = 30
_migration_folders = [ROOT / "tenant_migrations" / "versions"]


class TenantUpgrading(Unavailable):
    """The tenant's schema is older than this code supports; it is being migrated."""

    code = "tenant-upgrading"

    def __init__(self) -> None:
        super().__init__("The tenant is being upgraded.", retry_after_s=_RETRY_AFTER_S)


class SchemaTooOld(Conflict):
    """The database is from before the first release; no migration leads to this code."""

    code = "schema-too-old"

    def __init__(self) -> None:
        super().__init__("This database was made before 0.1.0; start with an empty database.")


@dataclass(frozen=True)
class TenantRef:
    """A tenant's id, and what follows from it."""

    id: UUID

    @property
    def schema(self) -> str:
        """The schema's name: `t_` and the id in hex, 34 bytes. It contains no user input."""
        return schema_name(self.id)

    def role(self, prefix: str) -> str:
        """Return the tenant's role name; roles are global to the server, hence the prefix."""
        return f"{prefix}{self.schema}"


def schema_name(tenant_id: UUID) -> str:
    """Return the schema's name; raise ValueError unless it has the one allowed form."""
    schema = f"t_{tenant_id.hex}"
    if not _NAME.fullmatch(schema):
        raise ValueError(f"not a schema name: {schema!r}")
    return schema


def head() -> str:
    """Return the revision that this code was written for."""
    revision = _script_directory().get_current_head()
    assert revision is not None
    return revision


def is_known_revision(revision: str) -> bool:
    """Return whether this code has the migration; if not, the schema is ahead of the code."""
    return revision in _known_revisions()


def precedes_baseline(revision: str | None) -> bool:
    """Return whether a revision, of the public schema or a tenant's, is from before 0.1.0."""
    return revision is not None and _BEFORE_BASELINE.fullmatch(revision) is not None


def is_behind(revision: str) -> bool:
    """Return whether a tenant's schema is behind this code; unknown revisions are ahead of it."""
    return precedes_baseline(revision) or (is_known_revision(revision) and revision != head())


def is_supported_revision(revision: str) -> bool:
    """Return whether this code runs on a schema at `revision`.

    Supported are the head, the revision before it, and unknown revisions, which are ahead.
    Migrations expand first and contract later, so a schema that is ahead still has what this code
    needs.
    """
    return not precedes_baseline(revision) and revision not in _unsupported_revisions()


def require_supported_revision(revision: str) -> None:
    """Raise TenantUpgrading unless this code runs on a schema at `revision`."""
    if not is_supported_revision(revision):
        raise TenantUpgrading


@dataclass(frozen=True)
class MigrationStep:
    """Consecutive revisions as SQL with placeholders, or one revision that needs Python."""

    revision: str
    script: str = ""
    upgrade: Callable[[], None] | None = None

    def run_python(self, connection: Connection) -> None:
        """Run the Python of the revision on a connection that is inside a tenant."""
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext

        assert self.upgrade is not None
        with Operations.context(MigrationContext.configure(connection)):
            self.upgrade()


@cache
def compile_steps(after_revision: str, *, for_citus: bool) -> tuple[MigrationStep, ...]:
    """Return the steps from `after_revision` to the head, in order; cached in the process."""
    compiled_steps = []
    scripts_between = _scripts_between(after_revision, head())
    for needs_python, group in groupby(scripts_between, key=_needs_python):
        scripts = list(group)
        if needs_python:
            compiled_steps += [
                MigrationStep(script.revision, upgrade=script.module.upgrade) for script in scripts
            ]
        else:
            compiled_steps.append(
                MigrationStep(
                    scripts[-1].revision, _wrap(_compile_scripts(scripts), for_citus=for_citus)
                )
            )
    return tuple(compiled_steps)


def compile_script(
    *, for_citus: bool, after_revision: str | None = None, to_revision: str | None = None
) -> str:
    """Return the migrations after `after_revision` up to `to_revision` as one SQL string.

    The default is all migrations. Alembic runs offline, and migrations that need Python are left
    out: a new schema has no data to move. For Citus the script is one DO block.
    """
    script = _compile_range(after_revision, to_revision or head())
    return _wrap(script, for_citus=for_citus)


def compile_tables_and_indexes(*, to_revision: str, for_citus: bool) -> tuple[str, str]:
    """Return the migrations up to `to_revision` in two scripts: (without indexes, indexes).

    Rows are inserted faster into tables that have no indexes yet.
    """
    sql_statements = list(sql_splitter.split_statements(_compile_range(None, to_revision)))
    tables = [statement for statement in sql_statements if not _INDEX.match(statement)]
    indexes = [statement for statement in sql_statements if _INDEX.match(statement)]
    return (
        _wrap(";\n".join(tables), for_citus=for_citus),
        _wrap(";\n".join(indexes), for_citus=for_citus),
    )


def migration_folders() -> tuple[Path, ...]:
    """Return the folders with the tenant migrations."""
    return tuple(_migration_folders)


def set_migration_folders(*paths: Path) -> None:
    """Read the tenant migrations from these folders; tests use it to add a migration."""
    _migration_folders[:] = paths
    for cached in (
        _script_directory,
        _known_revisions,
        _unsupported_revisions,
        compile_steps,
        _compile_range,
    ):
        cached.cache_clear()


@cache
def _compile_range(after_revision: str | None, to_revision: str) -> str:
    return _compile_scripts(
        [
            script
            for script in _scripts_between(after_revision, to_revision)
            if not _needs_python(script)
        ]
    )


def _compile_scripts(scripts: "Sequence[Script]") -> str:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer}
    )
    with Operations.context(context):
        for script in scripts:
            script.module.upgrade()
    return buffer.getvalue()


def _wrap(script: str, *, for_citus: bool) -> str:
    return wrap_in_do_block(script) if for_citus else script


def _needs_python(script: "Script") -> bool:
    return getattr(script.module, "python", False)


def render_for_tenant(script: str, tenant: TenantRef, *, grantees: str) -> str:
    """Return a compiled script for one tenant, to be run with that tenant's search_path.

    `grantees` is an SQL list of quoted names (`roles.Roles.grantees`).
    """
    return (
        script.replace(SCHEMA_SENTINEL, tenant.schema)
        .replace(TENANT_SENTINEL, str(tenant.id))
        .replace(GRANTEES_SENTINEL, grantees)
    )


def compile_grants(*, to_revision: str) -> str:
    """Return only the grants of the migrations up to `to_revision`, to restore a lost role."""
    script = _compile_range(None, to_revision)
    return ";\n".join(
        statement
        for statement in sql_splitter.split_statements(script)
        if statement.startswith("GRANT ")
    )


def wrap_in_do_block(script: str) -> str:
    """Return a compiled script as one `DO` block that executes it statement by statement.

    Citus needs it: it rejects CREATE INDEX in a string of several statements. On a plain Postgres
    the result is the same, but slower.
    """
    lines = "\n".join(
        f"EXECUTE {_dollar_quote(statement)};"
        for statement in sql_splitter.split_statements(script)
    )
    return _DO_BLOCK.format(tag=_dollar_tag(lines), lines=lines) if lines else ""


def _dollar_quote(text: str) -> str:
    return f"{_dollar_tag(text)}{text}{_dollar_tag(text)}"


def _dollar_tag(text: str) -> str:
    """Return a dollar-quote tag that neither occurs in the text nor at its end."""
    return next(tag for n in count() if (tag := f"$q{n}$") not in f"{text}$")


def _scripts_between(after_revision: str | None, to_revision: str) -> "Sequence[Script]":
    scripts = list(_script_directory().iterate_revisions(to_revision, after_revision or "base"))
    return [script for script in reversed(scripts) if script.revision != after_revision]


@cache
def _known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in _script_directory().walk_revisions())


@cache
def _unsupported_revisions() -> frozenset[str]:
    """Return the revisions before the head and its predecessor."""
    newest = islice(_script_directory().walk_revisions(), 2)
    return _known_revisions() - {script.revision for script in newest}


@cache
def _script_directory() -> "ScriptDirectory":
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "tenant_migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, _migration_folders)))
    return ScriptDirectory.from_config(config)
