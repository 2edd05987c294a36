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

from vca.kit.config import ROOT
from vca.kit.errors import Unavailable
from vca.tenancy import citus, statements

if TYPE_CHECKING:
    from alembic.script import Script, ScriptDirectory

# A compiled script names the schema, the tenant and those to whom its tables are granted by these;
# replay fills in the real ones. `public.create_tenant` knows them too.
SCHEMA_SENTINEL = "t_5ca1ab1e0000400080000000000000ff"
TENANT_SENTINEL = "5ca1ab1e-0000-4000-8000-0000000000ff"
GRANTEES_SENTINEL = '"5ca1ab1e_grantees"'
_BLOCK = "DO {tag}\nBEGIN\n{lines}\nEND\n{tag};"
_NAME = re.compile(r"t_[0-9a-f]{32}", re.ASCII)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX ")
_UPGRADED_IN_S = 30
_folders = [ROOT / "tenant_migrations" / "versions"]


class TenantUpgrading(Unavailable):
    """The tenant's schema is further behind than this code can serve; it is being migrated."""

    code = "tenant-upgrading"

    def __init__(self) -> None:
        super().__init__("The tenant is being upgraded.", retry_after_s=_UPGRADED_IN_S)


@dataclass(frozen=True)
class TenantRef:
    """A tenant as plain code holds it: an id, and the schema that follows from it."""

    id: UUID

    @property
    def schema(self) -> str:
        """`t_` and the id in hex: 34 bytes, never anything that a person typed."""
        return name(self.id)

    def role(self, prefix: str) -> str:
        """The tenant's database role; roles belong to the server, hence the deployment's prefix."""
        return f"{prefix}{self.schema}"


def name(tenant_id: UUID) -> str:
    """The schema's name; raises ValueError should it ever not have the one allowed form."""
    schema = f"t_{tenant_id.hex}"
    if not _NAME.fullmatch(schema):
        raise ValueError(f"not a schema name: {schema!r}")
    return schema


def head() -> str:
    """The revision that this code was written for."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def knows(revision: str) -> bool:
    """Whether this code has the migration; False means that the schema is ahead of the code."""
    return revision in _known()


def supports(revision: str) -> bool:
    """Whether this code runs on a schema at `revision`: its head, the one before, or one ahead.

    Migrations expand first and contract later, so one that is ahead still has what we need.
    """
    return revision not in _too_old()


def require_supported(revision: str) -> None:
    """Raise TenantUpgrading unless this code runs on a schema at `revision`."""
    if not supports(revision):
        raise TenantUpgrading


@dataclass(frozen=True)
class Step:
    """Revisions in a row as SQL with sentinels, or one revision that needs Python."""

    revision: str
    script: str = ""
    upgrade: Callable[[], None] | None = None

    def run(self, connection: Connection) -> None:
        """Do what needs Python, on a connection that is inside a tenant."""
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext

        assert self.upgrade is not None
        with Operations.context(MigrationContext.configure(connection)):
            self.upgrade()


@cache
def steps(above: str) -> tuple[Step, ...]:
    """What brings a schema from `above` to the head, in order; compiled once in a process."""
    found = []
    between = _between(above, head())
    for python, group in groupby(between, key=_needs_python):
        scripts = list(group)
        if python:
            found += [Step(one.revision, upgrade=one.module.upgrade) for one in scripts]
        else:
            found.append(Step(scripts[-1].revision, _rendered(_compiled(scripts))))
    return tuple(found)


def compile_script(*, above: str | None = None, upto: str | None = None) -> str:
    """The migrations after `above` up to `upto` (default: all) as one SQL string.

    Alembic runs offline, and a migration that needs Python is left out: it has no data to move in
    a schema that is being made. For Citus it is one block.
    """
    return _rendered(_compiled_range(above, upto or head()))


def compile_parts(*, upto: str) -> tuple[str, str]:
    """The same up to `upto`, in two: all but its indexes, and those.

    Rows go faster into tables that have no indexes yet.
    """
    found = list(statements.split(_compiled_range(None, upto)))
    tables = [each for each in found if not _INDEX.match(each)]
    indexes = [each for each in found if _INDEX.match(each)]
    return _rendered(";\n".join(tables)), _rendered(";\n".join(indexes))


def folders() -> tuple[Path, ...]:
    """Where the tenant migrations are read from."""
    return tuple(_folders)


def read_from(*wanted: Path) -> None:
    """Read the tenant migrations from these folders: a test adds one, and puts it back."""
    _folders[:] = wanted
    for remembered in (_scripts, _known, _too_old, steps, _compiled_range):
        remembered.cache_clear()


@cache
def _compiled_range(above: str | None, upto: str) -> str:
    return _compiled([each for each in _between(above, upto) if not _needs_python(each)])


def _compiled(scripts: "Sequence[Script]") -> str:
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


def _rendered(script: str) -> str:
    return as_block(script) if citus.in_use() else script


def _needs_python(script: "Script") -> bool:
    return getattr(script.module, "python", False)


def filled_in(script: str, tenant: TenantRef, *, grantees: str) -> str:
    """A compiled script for one tenant, to be run with that tenant's search_path.

    `grantees` is SQL: a list of quoted names (`roles.Roles.grantees`).
    """
    return (
        script.replace(SCHEMA_SENTINEL, tenant.schema)
        .replace(TENANT_SENTINEL, str(tenant.id))
        .replace(GRANTEES_SENTINEL, grantees)
    )


def compile_grants(*, upto: str) -> str:
    """The grants alone of the migrations up to `upto`, for a tenant whose role was lost."""
    script = _compiled_range(None, upto)
    return ";\n".join(each for each in statements.split(script) if each.startswith("GRANT "))


def as_block(script: str) -> str:
    """A compiled script as one `DO` block that runs it statement by statement.

    What Citus wants, which refuses CREATE INDEX in a string of several statements; on a single
    Postgres it makes the same and takes longer.
    """
    lines = "\n".join(f"EXECUTE {_quoted(each)};" for each in statements.split(script))
    return _BLOCK.format(tag=_tag(lines), lines=lines) if lines else ""


def _quoted(text: str) -> str:
    return f"{_tag(text)}{text}{_tag(text)}"


def _tag(text: str) -> str:
    """The mark of dollar quotes that does not occur in a text, nor where the text ends."""
    return next(tag for n in count() if (tag := f"$q{n}$") not in f"{text}$")


def _between(above: str | None, upto: str) -> "Sequence[Script]":
    scripts = list(_scripts().iterate_revisions(upto, above or "base"))
    return [script for script in reversed(scripts) if script.revision != above]


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())


@cache
def _too_old() -> frozenset[str]:
    """All that came before the head and the one before it."""
    newest = islice(_scripts().walk_revisions(), 2)
    return _known() - {script.revision for script in newest}


@cache
def _scripts() -> "ScriptDirectory":
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "tenant_migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, _folders)))
    return ScriptDirectory.from_config(config)
