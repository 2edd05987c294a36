"""Whether a Postgres server gives what VCA needs, asked by the logins themselves; no superuser.

What fails must be mended before tenants are served; a warning says what will hurt, and from how
many tenants on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import postgres_errors
from vca.kit.config import Settings
from vca.kit.db import Database, DatabaseFailure
from vca.registry import deployment, schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

Verdict = Literal["ok", "warning", "failed"]
NEWEST_SERVER = 18
# A dump of the whole database locks every table of every tenant, in one transaction; migrations and
# purges lock a few of one tenant.
TABLES_PER_TENANT = 19
# Seconds that a crashed server needs to start, for each tenant: it opens and syncs every file.
_FSYNC_S_PER_TENANT = 41.9 / 10_000
_BEARABLE_S = 10
_SAMPLE = 20

_RIGHTS = text(
    "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles"
    " WHERE rolname = current_user"
)
_OWNED = text(
    "SELECT count(*) FROM pg_shdepend"
    " WHERE deptype = 'o' AND refclassid = 'pg_authid'::regclass"
    " AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
)
_MAY_CREATE = text(
    "SELECT has_database_privilege(current_database(), 'CREATE'),"
    " has_schema_privilege('public', 'CREATE')"
)
_TENANTS = text("SELECT id FROM public.tenants ORDER BY created_at DESC LIMIT :most")
_MAY_ENTER = text(
    "SELECT n.nspname FROM pg_namespace n"
    " WHERE n.nspname = ANY(:names) AND has_schema_privilege(n.oid, 'USAGE')"
)
_WRITES = text(
    "SELECT t.name FROM unnest(ARRAY['public.tenants', 'public.dids', 'public.deployment',"
    " 'public.tenant_ddl']) AS t (name)"
    " WHERE has_table_privilege(t.name, 'INSERT, UPDATE, DELETE, TRUNCATE')"
)
_COUNT = text("SELECT count(*) FROM public.tenants")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `tenants` is how many it allows, where it sets a bound."""

    what: str
    verdict: Verdict
    detail: str
    tenants: int | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """Ready for JSON."""
        return vars(self).copy()


def check(settings: Settings) -> list[Finding]:
    """Look at everything, with each login in turn."""
    logins = {
        "owner": settings.owner_dsn,
        "web": settings.database_dsn,
        "worker": settings.worker_dsn,
    }
    found: list[Finding] = []
    for name, dsn in logins.items():
        found += _as_login(name, dsn, settings)
    return found


def _as_login(name: str, dsn: str, settings: Settings) -> Iterator[Finding]:
    looks = _OWNER_LOOKS if name == "owner" else _OTHERS_LOOK
    database = Database(dsn, pool_size=1)
    try:
        with public(database=database) as session:
            yield Finding(f"{name} logs in", "ok", deployment.login(dsn))
            for look in looks:
                yield from look(session, name, settings)
    except DatabaseFailure as error:
        reason = postgres_errors.message(error.__cause__ or error)
        yield Finding(f"{name} logs in", "failed", reason)
    finally:
        database.close()


def _version(session: Session, _: str, settings: Settings) -> Iterator[Finding]:
    major = schema.server_major(session)
    if major < schema.OLDEST_SERVER:
        yield Finding("version", "failed", schema.ServerTooOld(major).detail)
    elif major > NEWEST_SERVER:
        detail = f"PostgreSQL {major} is untried: VCA is tested up to {NEWEST_SERVER}."
        yield Finding("version", "failed", detail)
    else:
        yield Finding("version", "ok", f"PostgreSQL {major}")


def _owner_rights(session: Session, _: str, settings: Settings) -> Iterator[Finding]:
    superuser, creates_roles, *_rest = session.execute(_RIGHTS).one()
    yield _judge("owner is no superuser", not superuser, "a superuser is held back by nothing")
    if settings.role_prefix is not None:
        needed = creates_roles or superuser
        yield _judge("owner makes roles", needed, "ALTER ROLE … CREATEROLE is missing")
    in_database, in_public = session.execute(_MAY_CREATE).one()
    yield _judge("owner makes schemas", in_database, "GRANT CREATE ON DATABASE is missing")
    yield _judge("owner changes public", in_public, "GRANT CREATE ON SCHEMA public is missing")


def _public_schema(session: Session, _: str, settings: Settings) -> Iterator[Finding]:
    revision = schema.current(session)
    behind = schema.behind(revision)
    yield _judge("public schema", not behind, f"at {revision}: run flask db upgrade", str(revision))
    if behind:
        return
    noted, ours = deployment.found(session), deployment.configured(settings)
    if noted is None:
        yield Finding("deployment", "failed", "nothing is noted: run flask db upgrade")
        return
    differences = noted.differences(ours)
    detail = f"{'; '.join(differences)}: run flask db adopt if this is a copy that you mean to use"
    yield _judge("deployment", not differences, detail)
    same = noted.roles == ours.roles
    yield _judge("logins and roles", same, "not those of the settings: run flask db roles --apply")


def _size(session: Session, _: str, settings: Settings) -> Iterator[Finding]:
    """What hurts with many tenants."""
    tenants = 0 if schema.behind(schema.current(session)) else session.scalar(_COUNT) or 0
    locks = int(_shown(session, "max_locks_per_transaction"))
    clients = int(_shown(session, "max_connections"))
    allowed = locks * clients // TABLES_PER_TENANT
    detail = f"{locks} × {clients} connections: a dump of the whole database locks every table"
    yield Finding("max_locks_per_transaction", _bound(tenants, allowed), detail, allowed)

    method = _shown(session, "recovery_init_sync_method")
    if method == "fsync":
        bearable = int(_BEARABLE_S / _FSYNC_S_PER_TENANT)
        detail = "fsync: after a crash each 1,000 tenants delay the start by 4 s; syncfs does not"
        yield Finding("recovery_init_sync_method", _bound(tenants, bearable), detail, bearable)
    else:
        yield Finding("recovery_init_sync_method", "ok", method)

    wanted = settings.web_workers * settings.database_pool_size + 10
    detail = f"{clients}; this web server's pools and a worker take up to {wanted}"
    verdict: Verdict = "ok" if wanted <= clients else "warning"
    yield Finding("max_connections", verdict, detail)


def _least_privilege(session: Session, name: str, settings: Settings) -> Iterator[Finding]:
    rights = session.execute(_RIGHTS).one()
    owned = session.scalar(_OWNED) or 0
    yield _judge(f"{name} has no rights of its own", not any(rights), "SUPERUSER, CREATEROLE, …")
    yield _judge(f"{name} owns nothing", owned == 0, f"it owns {owned} objects")
    creates = any(session.execute(_MAY_CREATE).one())
    yield _judge(f"{name} runs no DDL", not creates, "it may CREATE: run flask db roles --apply")
    if schema.behind(schema.current(session)):
        return
    written = session.scalars(_WRITES).all()
    detail = f"it writes {', '.join(written)}"
    yield _judge(f"{name} changes public by functions only", not written, detail)
    if settings.role_prefix is not None:
        yield _stays_outside(session, name)


def _stays_outside(session: Session, name: str) -> Finding:
    newest = [TenantRef(row).schema for row in session.scalars(_TENANTS, {"most": _SAMPLE})]
    open_ones = session.scalars(_MAY_ENTER, {"names": newest}).all()
    detail = f"it reads {', '.join(open_ones[:3])} without entering the tenant"
    fine = f"tried with {len(newest)}"
    return _judge(f"{name} reads no tenant's tables unentered", not open_ones, detail, fine)


def _judge(what: str, fine: bool, otherwise: str, detail: str = "") -> Finding:
    return Finding(what, "ok" if fine else "failed", detail if fine else otherwise)


def _bound(tenants: int, allowed: int) -> Verdict:
    return "ok" if tenants <= allowed else "warning"


def _shown(session: Session, setting: str) -> str:
    return str(session.scalar(text("SELECT current_setting(:name)"), {"name": setting}))


Look = Callable[[Session, str, Settings], Iterator[Finding]]
_OWNER_LOOKS: Sequence[Look] = (_version, _owner_rights, _public_schema, _size)
_OTHERS_LOOK: Sequence[Look] = (_least_privilege,)
