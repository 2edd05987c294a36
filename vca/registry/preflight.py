"""Check whether a Postgres server meets VCA's requirements; needs no superuser.

The checks run with the logins that the processes use. A failed check must be fixed before tenants
are served. A warning says what becomes a problem, and from how many tenants on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.jobs import lanes
from vca.kit import postgres_errors
from vca.kit.db import Database, DatabaseFailure
from vca.registry import deployment, schema
from vca.settings import Settings
from vca.tenancy.schema import SchemaTooOld, TenantRef, precedes_baseline
from vca.tenancy.session import public_session

CheckVerdict = Literal["ok", "warning", "failed"]
NEWEST_TESTED_SERVER = 18
# A dump of the whole database locks every table of every tenant in one transaction. Migrations and
# purges lock only a few tables of one tenant.
TABLES_PER_TENANT = 19
# Seconds per tenant that a server needs to start after a crash: it opens and syncs every file.
_FSYNC_S_PER_TENANT = 41.9 / 10_000
_MAX_START_DELAY_S = 10
_TENANT_SAMPLE_SIZE = 20
_CONNECTIONS_OF_COMMANDS = 5

_ROLE_ATTRIBUTES = text(
    "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles"
    " WHERE rolname = current_user"
)
_COUNT_OWNED_OBJECTS = text(
    "SELECT count(*) FROM pg_shdepend"
    " WHERE deptype = 'o' AND refclassid = 'pg_authid'::regclass"
    " AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
)
_CREATE_PRIVILEGES = text(
    "SELECT has_database_privilege(current_database(), 'CREATE'),"
    " has_schema_privilege('public', 'CREATE')"
)
_NEWEST_TENANTS = text("SELECT id FROM public.tenants ORDER BY created_at DESC LIMIT :most")
_READABLE_SCHEMAS = text(
    "SELECT n.nspname FROM pg_namespace n"
    " WHERE n.nspname = ANY(:names) AND has_schema_privilege(n.oid, 'USAGE')"
)
_WRITABLE_TABLES = text(
    "SELECT t.name FROM unnest(ARRAY['public.tenants', 'public.dids', 'public.deployment',"
    " 'public.tenant_ddl']) AS t (name)"
    " WHERE has_table_privilege(t.name, 'INSERT, UPDATE, DELETE, TRUNCATE')"
)
_COUNT_TENANTS = text("SELECT count(*) FROM public.tenants")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; `tenants` is the number of tenants that it allows, if any limit."""

    name: str
    verdict: CheckVerdict
    detail: str
    tenants: int | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the result for JSON."""
        return {
            "what": self.name,
            "verdict": self.verdict,
            "detail": self.detail,
            "tenants": self.tenants,
        }


def run_checks(settings: Settings) -> list[CheckResult]:
    """Run all checks, with each login in turn."""
    logins = {
        "owner": settings.owner_dsn,
        "web": settings.database_dsn,
        "worker": settings.worker_dsn,
    }
    results: list[CheckResult] = []
    for name, dsn in logins.items():
        results += _check_login(name, dsn, settings)
    return results


def _check_login(name: str, dsn: str, settings: Settings) -> Iterator[CheckResult]:
    checks = _OWNER_CHECKS if name == "owner" else _LOGIN_CHECKS
    database = Database(dsn, pool_size=1)
    try:
        with public_session(database=database) as session:
            yield CheckResult(f"{name} logs in", "ok", deployment.login_name(dsn))
            for run_check in checks:
                yield from run_check(session, name, settings)
    except DatabaseFailure as error:
        reason = postgres_errors.message(error.__cause__ or error)
        yield CheckResult(f"{name} logs in", "failed", reason)
    finally:
        database.close()


def _check_version(session: Session, _: str, settings: Settings) -> Iterator[CheckResult]:
    major = schema.server_major(session)
    if major < schema.OLDEST_SERVER:
        yield CheckResult("version", "failed", schema.ServerTooOld(major).detail)
    elif major > NEWEST_TESTED_SERVER:
        detail = f"PostgreSQL {major} is not tested: VCA is tested up to {NEWEST_TESTED_SERVER}."
        yield CheckResult("version", "failed", detail)
    else:
        yield CheckResult("version", "ok", f"PostgreSQL {major}")


def _check_owner_privileges(session: Session, _: str, settings: Settings) -> Iterator[CheckResult]:
    superuser, creates_roles, *_rest = session.execute(_ROLE_ATTRIBUTES).one()
    yield _check_result(
        "owner is no superuser",
        not superuser,
        "the login is a superuser, which bypasses all privileges",
    )
    if settings.role_prefix is not None:
        may_create_roles = creates_roles or superuser
        yield _check_result(
            "owner makes roles", may_create_roles, "ALTER ROLE … CREATEROLE is missing"
        )
    in_database, in_public = session.execute(_CREATE_PRIVILEGES).one()
    yield _check_result("owner makes schemas", in_database, "GRANT CREATE ON DATABASE is missing")
    yield _check_result(
        "owner changes public", in_public, "GRANT CREATE ON SCHEMA public is missing"
    )


def _check_public_schema(session: Session, _: str, settings: Settings) -> Iterator[CheckResult]:
    revision = schema.current_revision(session)
    is_behind = schema.is_behind(revision)
    detail = f"at {revision}: run flask db upgrade"
    if precedes_baseline(revision):
        detail = SchemaTooOld().detail
    yield _check_result("public schema", not is_behind, detail, str(revision))
    if is_behind:
        return
    recorded, configured = deployment.find_recorded(session), deployment.from_settings(settings)
    if recorded is None:
        yield CheckResult("deployment", "failed", "no deployment is recorded: run flask db upgrade")
        return
    differences = recorded.differences(configured)
    detail = f"{'; '.join(differences)}: run flask db adopt if you want to use this copy"
    yield _check_result("deployment", not differences, detail)
    roles_match = recorded.roles == configured.roles
    yield _check_result(
        "logins and roles", roles_match, "they differ from the settings: run flask db roles --apply"
    )


def _check_capacity(session: Session, _: str, settings: Settings) -> Iterator[CheckResult]:
    """Check the limits that depend on the number of tenants."""
    tenants = (
        0
        if schema.is_behind(schema.current_revision(session))
        else session.scalar(_COUNT_TENANTS) or 0
    )
    locks = int(_setting_value(session, "max_locks_per_transaction"))
    clients = int(_setting_value(session, "max_connections"))
    allowed = locks * clients // TABLES_PER_TENANT
    detail = f"{locks} × {clients} connections: a dump of the whole database locks every table"
    yield CheckResult(
        "max_locks_per_transaction", _capacity_verdict(tenants, allowed), detail, allowed
    )

    method = _setting_value(session, "recovery_init_sync_method")
    if method == "fsync":
        max_tenants = int(_MAX_START_DELAY_S / _FSYNC_S_PER_TENANT)
        detail = "fsync: after a crash each 1,000 tenants delay the start by 4 s; syncfs does not"
        yield CheckResult(
            "recovery_init_sync_method",
            _capacity_verdict(tenants, max_tenants),
            detail,
            max_tenants,
        )
    else:
        yield CheckResult("recovery_init_sync_method", "ok", method)

    needed_connections = (
        settings.web_workers * settings.database_pool_size
        + lanes.count_connections(lanes.from_settings(settings))
        + _CONNECTIONS_OF_COMMANDS
    )
    detail = f"{clients}; the web server's pools and a worker use up to {needed_connections}"
    verdict: CheckVerdict = "ok" if needed_connections <= clients else "warning"
    yield CheckResult("max_connections", verdict, detail)


def _check_least_privilege(
    session: Session, name: str, settings: Settings
) -> Iterator[CheckResult]:
    rights = session.execute(_ROLE_ATTRIBUTES).one()
    owned_count = session.scalar(_COUNT_OWNED_OBJECTS) or 0
    yield _check_result(
        f"{name} has no rights of its own", not any(rights), "SUPERUSER, CREATEROLE, …"
    )
    yield _check_result(f"{name} owns nothing", owned_count == 0, f"it owns {owned_count} objects")
    may_create = any(session.execute(_CREATE_PRIVILEGES).one())
    yield _check_result(
        f"{name} runs no DDL",
        not may_create,
        "it has CREATE privileges: run flask db roles --apply",
    )
    if schema.is_behind(schema.current_revision(session)):
        return
    writable_tables = session.scalars(_WRITABLE_TABLES).all()
    detail = f"it can write {', '.join(writable_tables)}"
    yield _check_result(f"{name} changes public by functions only", not writable_tables, detail)
    if settings.role_prefix is not None:
        yield _check_tenant_isolation(session, name)


def _check_tenant_isolation(session: Session, name: str) -> CheckResult:
    newest = [
        TenantRef(row).schema
        for row in session.scalars(_NEWEST_TENANTS, {"most": _TENANT_SAMPLE_SIZE})
    ]
    readable_schemas = session.scalars(_READABLE_SCHEMAS, {"names": newest}).all()
    detail = f"it can read {', '.join(readable_schemas[:3])} without entering the tenant"
    success_detail = f"checked tenants: {len(newest)}"
    return _check_result(
        f"{name} reads no tenant's tables unentered", not readable_schemas, detail, success_detail
    )


def _check_result(name: str, passed: bool, failure_detail: str, detail: str = "") -> CheckResult:
    return CheckResult(name, "ok" if passed else "failed", detail if passed else failure_detail)


def _capacity_verdict(tenants: int, allowed: int) -> CheckVerdict:
    return "ok" if tenants <= allowed else "warning"


def _setting_value(session: Session, setting: str) -> str:
    return str(session.scalar(text("SELECT current_setting(:name)"), {"name": setting}))


Check = Callable[[Session, str, Settings], Iterator[CheckResult]]
_OWNER_CHECKS: Sequence[Check] = (
    _check_version,
    _check_owner_privileges,
    _check_public_schema,
    _check_capacity,
)
_LOGIN_CHECKS: Sequence[Check] = (_check_least_privilege,)
