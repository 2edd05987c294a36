"""Upgrade the public schema, and the compiled tenant schema in it, to this code's revision.

Alembic is imported on first use, as in `tenancy.schema`.
"""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.db import Database
from vca.kit.errors import Conflict
from vca.registry import deployment, privileges, sql_functions
from vca.registry.deployment import Deployment
from vca.registry.tenants.models import TenantDdl
from vca.settings import ROOT
from vca.tenancy import citus, schema, session
from vca.tenancy.roles import Roles

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

# Since PostgreSQL 16, a login with CREATEROLE administers only the roles that it created.
OLDEST_SERVER = 16
_STATEMENT_TIMEOUT_S = 600.0
# Tables that tenants' transactions read and write; a table comes before those that refer to it.
_REFERENCE_TABLES = ("public.tenants", "public.dids", "public.plans")
_migration_folders = [ROOT / "migrations" / "versions"]
# Serialises upgrades, so that two concurrent deploys take turns.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('vca.upgrade'))"


class ServerTooOld(Conflict):
    """The database server is older than the oldest supported release."""

    code = "server-too-old"

    def __init__(self, major: int) -> None:
        super().__init__(
            f"PostgreSQL {major} is not supported: VCA needs PostgreSQL {OLDEST_SERVER} or newer."
        )


def server_major(session: Session) -> int:
    """Return the server's major version, such as 16."""
    number = session.scalar(text("SELECT current_setting('server_version_num')"))
    return int(str(number)) // 10_000


def require_supported_server(session: Session) -> None:
    """Raise ServerTooOld if the server is older than OLDEST_SERVER."""
    major = server_major(session)
    if major < OLDEST_SERVER:
        raise ServerTooOld(major)


def head() -> str:
    """Return the revision of the public schema that this code was written for."""
    revision = _script_directory().get_current_head()
    assert revision is not None
    return revision


def is_behind(revision: str | None) -> bool:
    """Return whether a public schema at `revision` is behind this code; unknown ones are ahead."""
    if revision is None or schema.precedes_baseline(revision):
        return True
    revisions = {script.revision for script in _script_directory().walk_revisions()}
    return revision in revisions and revision != head()


def current_revision(session: Session) -> str | None:
    """Return the public schema's revision, or None if it was never created."""
    if session.scalar(text("SELECT to_regclass('public.alembic_version')")) is None:
        return None
    revision: str | None = session.scalar(text("SELECT version_num FROM public.alembic_version"))
    return revision


def upgrade_public_schema(
    database: Database, this_deployment: Deployment
) -> tuple[str | None, str]:
    """Migrate `public`, store the tenant script, install the functions, and apply the grants.

    Returns (revision before, revision after). `database` has the owner's login. Everything is one
    transaction. A schema that is ahead of this code stays as it is. Raises ServerTooOld and
    SchemaTooOld.
    """
    with db.statement_timeout_scope(_STATEMENT_TIMEOUT_S):
        before, after = _upgrade_in_transaction(database, this_deployment)
        if after == head():
            privileges.restore_roles(database, this_deployment.roles)
    return before, after


def _upgrade_in_transaction(
    database: Database, this_deployment: Deployment
) -> tuple[str | None, str]:
    with session.public_session(database=database) as db_session:
        require_supported_server(db_session)
        db_session.execute(text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"))
        db_session.execute(text(_LOCK))
        db_session.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
        before = current_revision(db_session)
        if schema.precedes_baseline(before):
            raise schema.SchemaTooOld
        if is_behind(before):
            _run_alembic(db_session.connection())
        citus.create_reference_tables(db_session, *_REFERENCE_TABLES)
        _store_tenant_script(db_session)
        after = current_revision(db_session)
        assert after is not None
        if after == head():
            deployment.record_deployment(db_session, this_deployment)
            _install_functions(db_session, this_deployment.roles)
        return before, after


def _install_functions(db_session: Session, login_roles: Roles) -> None:
    """Install the functions and apply the grants, unless a newer release has done so."""
    connection = db_session.connection()
    if sql_functions.are_newer(connection):
        return
    sql_functions.install(connection, login_roles)
    sql_functions.record_release(connection)
    privileges.apply_grants(db_session, login_roles)


def _run_alembic(connection: Connection) -> None:
    config = _alembic_config()
    config.attributes["connection"] = connection
    from alembic import command

    command.upgrade(config, "head")


def _store_tenant_script(db_session: Session) -> None:
    """Store the script for new tenants; an older release does not overwrite a newer script."""
    newest = db_session.scalar(
        text("SELECT revision FROM public.tenant_ddl ORDER BY installed_at DESC LIMIT 1")
    )
    if newest is not None and not schema.is_known_revision(newest):
        return
    script = schema.compile_script(for_citus=citus.is_enabled(db_session.connection()))
    statement = insert(TenantDdl).values(revision=schema.head(), script=script)
    db_session.execute(
        statement.on_conflict_do_update(
            index_elements=["revision"], set_={"script": script, "installed_at": text("now()")}
        )
    )


def migration_folders() -> tuple[Path, ...]:
    """Return the folders with the migrations of the public schema."""
    return tuple(_migration_folders)


def set_migration_folders(*paths: Path) -> None:
    """Read the migrations from these folders; tests use it to add a migration."""
    _migration_folders[:] = paths
    _script_directory.cache_clear()


def _alembic_config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, _migration_folders)))
    return config


@cache
def _script_directory() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_alembic_config())
