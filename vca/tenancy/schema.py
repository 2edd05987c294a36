"""Schemas of tenants: their names, and the tenant migrations compiled to one SQL script."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from uuid import UUID

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from vca.kit.config import ROOT
from vca.tenancy import citus, statements

# A compiled script names the schema and the tenant by these two; replay fills in the real ones.
SCHEMA_SENTINEL = "t_5ca1ab1e0000400080000000000000ff"
TENANT_SENTINEL = "5ca1ab1e-0000-4000-8000-0000000000ff"
_BLOCK = "DO {tag}\nBEGIN\n{lines}\nEND\n{tag};"
_NAME = re.compile(r"t_[0-9a-f]{32}", re.ASCII)


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
    return any(script.revision == revision for script in _scripts().walk_revisions())


def compile_script(*, above: str | None = None, upto: str | None = None) -> str:
    """The migrations after `above` up to `upto` (default: all) as one SQL string.

    Alembic runs offline, so a migration that needs Python does nothing here; it has no data to
    move in a schema that is being made. For Citus it is one block.
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
    compiled = buffer.getvalue()
    return as_block(compiled) if citus.in_use() else compiled


def filled_in(script: str, tenant: TenantRef) -> str:
    """A compiled script for one tenant, to be run with that tenant's search_path."""
    return script.replace(SCHEMA_SENTINEL, tenant.schema).replace(TENANT_SENTINEL, str(tenant.id))


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


def _between(above: str | None, upto: str) -> Sequence[Script]:
    scripts = list(_scripts().iterate_revisions(upto, above or "base"))
    return [script for script in reversed(scripts) if script.revision != above]


@cache
def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "tenant_migrations"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)
