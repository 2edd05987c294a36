"""Tests of the job queue's schema: functions pin their search path, and jobs reach the queue."""

from importlib.resources import files

from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.schema_dump import dump_schema
from tests.support.services import app_services
from vca.jobs import queue
from vca.kit.db import Database
from vca.tenancy.session import public_session, tenant_session

_UNPINNED_FUNCTIONS_SQL = text(
    "SELECT p.oid::regprocedure::text FROM pg_proc p"
    " WHERE pronamespace = to_regnamespace(:schema) AND prokind IN ('f', 'p')"
    " AND NOT coalesce(proconfig @> ARRAY[:pin], false)"
)
SEARCH_PATHS = {"jobs": "search_path=jobs, pg_temp", "public": "search_path=pg_catalog, pg_temp"}


def _job_count(tenant: Tenant) -> int:
    count_sql = text(
        "SELECT count(*) FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
        " AND task_name = 'planted.test'"
    )
    with admin_db.public_session() as session:
        return session.scalar(count_sql, {"id": tenant.id}) or 0


def test_all_functions_of_the_queue_and_of_public_pin_their_search_path(acme: Tenant) -> None:
    with public_session(database=app_services().database) as session:
        for schema, search_path in SEARCH_PATHS.items():
            assert (
                session.scalars(
                    _UNPINNED_FUNCTIONS_SQL, {"schema": schema, "pin": search_path}
                ).all()
                == []
            )
            count_sql = text(
                "SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)"
            )
            assert (session.scalar(count_sql, {"schema": schema}) or 0) > 7


def test_tables_in_a_tenant_schema_capture_no_jobs(acme: Tenant) -> None:
    with admin_db.tenant_session(acme.ref) as session:
        for table in ("procrastinate_jobs", "procrastinate_events", "procrastinate_workers"):
            session.execute(text(f"CREATE TABLE {table} (LIKE jobs.{table} INCLUDING ALL)"))

    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "planted.test", number="+1")

    with admin_db.tenant_session(acme.ref) as session:
        assert session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == 0
        assert session.scalar(text("SELECT count(*) FROM procrastinate_events")) == 0
    assert _job_count(acme) == 1


def test_functions_in_a_tenant_schema_are_not_called(acme: Tenant) -> None:
    function_sql = """
        CREATE FUNCTION procrastinate_defer_jobs_v1(jobs.procrastinate_job_to_defer_v1[])
        RETURNS bigint[] LANGUAGE sql AS $$ SELECT ARRAY[-1::bigint] $$
    """
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text(function_sql))

    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "planted.test", number="+1")

    assert _job_count(acme) == 1


def test_a_job_belongs_to_the_tenant_of_the_transaction(acme: Tenant, globex: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "planted.test", tenant_id=globex.id)

    assert (_job_count(acme), _job_count(globex)) == (1, 0)


def test_a_job_of_a_rolled_back_transaction_is_not_enqueued(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "planted.test")
        assert _job_count(acme) == 0
        session.rollback()

    assert _job_count(acme) == 0


def test_an_insert_sends_no_notification(world: Factory) -> None:
    """The worker polls, because a NOTIFY on every insert would serialise commits."""
    notify_triggers_sql = text(
        "SELECT tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE tgrelid = 'jobs.procrastinate_jobs'::regclass AND tgenabled <> 'D'"
        " AND p.prosrc ILIKE '%pg_notify%' AND t.tgtype::int & 4 > 0"
    )
    with public_session(database=app_services().database) as session:
        assert session.scalars(notify_triggers_sql).all() == []


def test_the_installed_queue_schema_equals_the_migrated_one(empty_database: Database) -> None:
    scripts = files("procrastinate") / "sql"
    migrations = sorted(
        (entry for entry in (scripts / "migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    with public_session(database=empty_database) as session:
        connection = session.connection()
        for schema, sources in (("new", [scripts / "schema.sql"]), ("old", migrations)):
            session.execute(text(f"CREATE SCHEMA {schema}; SET LOCAL search_path TO {schema}"))
            for source in sources:
                connection.exec_driver_sql(source.read_text().replace("%", "%%"))
        installed_schema, migrated_schema = (
            dump_schema(connection, "new"),
            dump_schema(connection, "old"),
        )
        session.execute(text("DROP SCHEMA new, old CASCADE"))

    assert installed_schema == migrated_schema
    assert len(installed_schema) > 50
