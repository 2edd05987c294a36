"""Schemas of tenants: their names, and the tenant migrations compiled to one SQL script.

Alembic is imported when a migration is first looked at: most commands do without it, and it takes a
fifth of their start.
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

from vca.kit.errors import Unavailable
from vca.settings import ROOT
from vca.tenancy import citus, sql_splitter

if TYPE_CHECKING:
    from alembic.script import Script, ScriptDirectory

# A compiled script names the schema, the tenant and those to whom its tables are granted by these;
# replay fills in the real ones. `public.create_tenant` knows them too.
SCHEMA_SENTINEL = "t_5ca1ab1e0000400080000000000000ff"
TENANT_SENTINEL = "5ca1ab1e-0000-4000-8000-0000000000ff"
GRANTEES_SENTINEL = '"5ca1ab1e_grantees"'
_DO_BLOCK = "DO {tag}\nBEGIN\n{lines}\nEND\n{tag};"
_NAME = re.compile(r"t_[0-9a-f]{32}", re.ASCII)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX ")
_RETRY_AFTER_S = 30
_migration_folders = [ROOT / "tenant_migrations" / "versions"]


class TenantUpgrading(Unavailable):
    """The tenant's schema is further behind than this code can serve; it is being migrated."""

    code = "tenant-upgrading"

    def __init__(self) -> None:
        super().__init__("The tenant is being upgraded.", retry_after_s=_RETRY_AFTER_S)


@dataclass(frozen=True)
class TenantRef:
    """A tenant as plain code holds it: an id, and the schema that follows from it."""

    id: UUID

    @property
    def schema(self) -> str:
        """`t_` and the id in hex: 34 bytes, never anything that a person typed."""
        return schema_name(self.id)

    def role(self, prefix: str) -> str:
        """The tenant's database role; roles belong to the server, hence the deployment's prefix."""
        return f"{prefix}{self.schema}"


def schema_name(tenant_id: UUID) -> str:
    """The schema's name; raises ValueError should it ever not have the one allowed form."""
    schema = f"t_{tenant_id.hex}"
    if not _NAME.fullmatch(schema):
        raise ValueError(f"not a schema name: {schema!r}")
    return schema


def head() -> str:
    """The revision that this code was written for."""
    revision = _script_directory().get_current_head()
    assert revision is not None
    return revision


def is_known_revision(revision: str) -> bool:
    """Whether this code has the migration; False means that the schema is ahead of the code."""
    return revision in _known_revisions()


def is_supported_revision(revision: str) -> bool:
    """Whether this code runs on a schema at `revision`: its head, the one before, or one ahead.

    Migrations expand first and contract later, so one that is ahead still has what we need.
    """
    return revision not in _unsupported_revisions()


def require_supported_revision(revision: str) -> None:
    """Raise TenantUpgrading unless this code runs on a schema at `revision`."""
    if not is_supported_revision(revision):
        raise TenantUpgrading


@dataclass(frozen=True)
class MigrationStep:
    """Revisions in a row as SQL with sentinels, or one revision that needs Python."""

    revision: str
    script: str = ""
    upgrade: Callable[[], None] | None = None

    def run_python(self, connection: Connection) -> None:
        """Do what needs Python, on a connection that is inside a tenant."""
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext

        assert self.upgrade is not None
        with Operations.context(MigrationContext.configure(connection)):
            self.upgrade()


@cache
def compile_steps(after_revision: str) -> tuple[MigrationStep, ...]:
    """What brings a schema from `above` to the head, in order; compiled once in a process."""
    compiled_steps = []
    between = _scripts_between(after_revision, head())
    for needs_python, group in groupby(between, key=_needs_python):
        scripts = list(group)
        if needs_python:
            compiled_steps += [
                MigrationStep(one.revision, upgrade=one.module.upgrade) for one in scripts
            ]
        else:
            compiled_steps.append(
                MigrationStep(scripts[-1].revision, _wrap_for_citus(_compile_scripts(scripts)))
            )
    return tuple(compiled_steps)


def compile_script(*, after_revision: str | None = None, to_revision: str | None = None) -> str:
    """The migrations after `above` up to `upto` (default: all) as one SQL string.

    Alembic runs offline, and a migration that needs Python is left out: it has no data to move in
    a schema that is being made. For Citus it is one block.
    """
    return _wrap_for_citus(_compile_range(after_revision, to_revision or head()))


def compile_tables_and_indexes(*, to_revision: str) -> tuple[str, str]:
    """The same up to `upto`, in two: all but its indexes, and those.

    Rows go faster into tables that have no indexes yet.
    """
    sql_statements = list(sql_splitter.split_statements(_compile_range(None, to_revision)))
    tables = [each for each in sql_statements if not _INDEX.match(each)]
    indexes = [each for each in sql_statements if _INDEX.match(each)]
    return _wrap_for_citus(";\n".join(tables)), _wrap_for_citus(";\n".join(indexes))


def migration_folders() -> tuple[Path, ...]:
    """Where the tenant migrations are read from."""
    return tuple(_migration_folders)


def set_migration_folders(*paths: Path) -> None:
    """Read the tenant migrations from these folders: a test adds one, and puts it back."""
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
        [each for each in _scripts_between(after_revision, to_revision) if not _needs_python(each)]
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


def _wrap_for_citus(script: str) -> str:
    return wrap_in_do_block(script) if citus.is_enabled() else script


def _needs_python(script: "Script") -> bool:
    return getattr(script.module, "python", False)


def render_for_tenant(script: str, tenant: TenantRef, *, grantees: str) -> str:
    """A compiled script for one tenant, to be run with that tenant's search_path.

    `grantees` is SQL: a list of quoted names (`roles.Roles.grantees`).
    """
    return (
        script.replace(SCHEMA_SENTINEL, tenant.schema)
        .replace(TENANT_SENTINEL, str(tenant.id))
        .replace(GRANTEES_SENTINEL, grantees)
    )


def compile_grants(*, to_revision: str) -> str:
    """The grants alone of the migrations up to `upto`, for a tenant whose role was lost."""
    script = _compile_range(None, to_revision)
    return ";\n".join(
        each for each in sql_splitter.split_statements(script) if each.startswith("GRANT ")
    )


def wrap_in_do_block(script: str) -> str:
    """A compiled script as one `DO` block that runs it statement by statement.

    What Citus wants, which refuses CREATE INDEX in a string of several statements; on a single
    Postgres it makes the same and takes longer.
    """
    lines = "\n".join(
        f"EXECUTE {_dollar_quote(each)};" for each in sql_splitter.split_statements(script)
    )
    return _DO_BLOCK.format(tag=_dollar_tag(lines), lines=lines) if lines else ""


def _dollar_quote(text: str) -> str:
    return f"{_dollar_tag(text)}{text}{_dollar_tag(text)}"


def _dollar_tag(text: str) -> str:
    """The mark of dollar quotes that does not occur in a text, nor where the text ends."""
    return next(tag for n in count() if (tag := f"$q{n}$") not in f"{text}$")


def _scripts_between(after_revision: str | None, to_revision: str) -> "Sequence[Script]":
    scripts = list(_script_directory().iterate_revisions(to_revision, after_revision or "base"))
    return [script for script in reversed(scripts) if script.revision != after_revision]


@cache
def _known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in _script_directory().walk_revisions())


@cache
def _unsupported_revisions() -> frozenset[str]:
    """All that came before the head and the one before it."""
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
