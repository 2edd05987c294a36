"""Schemas of tenants: their names, and the tenant migrations compiled to one SQL script."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from vca.kit.config import ROOT

# A compiled script names the schema, the tenant and those to whom its tables are granted by these;
# replay fills in the real ones. `public.create_tenant` knows them too.
SCHEMA_SENTINEL = "t_5ca1ab1e0000400080000000000000ff"
TENANT_SENTINEL = "5ca1ab1e-0000-4000-8000-0000000000ff"
GRANTEES_SENTINEL = '"5ca1ab1e_grantees"'
_NAME = re.compile(r"t_[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True)
class TenantRef:
    """A tenant as plain code holds it: an id, and the schema that follows from it."""

    id: UUID

    @property
    def schema(self) -> str:
        """`t_` and the id in hex: 34 bytes, never anything that a person typed."""
        return name(self.id)


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
    return any(script.revision == revision for script in _scripts().walk_revisions())


def compile_script(*, above: str | None = None, upto: str | None = None) -> str:
    """The migrations after `above` up to `upto` (default: all) as one SQL string.

    Alembic runs offline, so a migration that needs Python does nothing here; it has no data to
    move in a schema that is being made.
    """
    scripts = _between(above, upto or head())
    if not scripts:
        return ""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer}
    )
    with Operations.context(context):
        for script in scripts:
            script.module.upgrade()
    return buffer.getvalue()


def filled_in(script: str, tenant: TenantRef, *, grantees: str) -> str:
    """A compiled script for one tenant, to be run with that tenant's search_path.

    `grantees` is SQL: a list of quoted names (`roles.Roles.grantees`).
    """
    return (
        script.replace(SCHEMA_SENTINEL, tenant.schema)
        .replace(TENANT_SENTINEL, str(tenant.id))
        .replace(GRANTEES_SENTINEL, grantees)
    )


def grants(script: str) -> str:
    """The grants of a compiled script alone, for a tenant whose role was lost."""
    return "\n".join(line for line in script.splitlines() if line.startswith("GRANT "))


def _between(above: str | None, upto: str) -> Sequence[Script]:
    scripts = list(_scripts().iterate_revisions(upto, above or "base"))
    return [script for script in reversed(scripts) if script.revision != above]


@cache
def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "tenant_migrations"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)
