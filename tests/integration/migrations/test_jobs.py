"""The queue's schema: every function is pinned, and nothing of a tenant's captures a job."""

from importlib.resources import files

from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.schema_dump import dump_schema
from vca.jobs import queue
from vca.kit.db import Database
from vca.tenancy.session import public_session, tenant_session

_UNPINNED = text(
    "SELECT p.oid::regprocedure::text FROM pg_proc p"
    " WHERE pronamespace = to_regnamespace(:schema) AND prokind IN ('f', 'p')"
    " AND NOT coalesce(proconfig @> ARRAY[:pin], false)"
)
PINS = {"jobs": "search_path=jobs, pg_temp", "public": "search_path=pg_catalog, pg_temp"}


def _in_queue(tenant: Tenant) -> int:
    count = text(
        "SELECT count(*) FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
        " AND task_name = 'planted.test'"
    )
    with admin_db.public_session() as session:
        return session.scalar(count, {"id": tenant.id}) or 0


def test_every_function_of_the_queue_and_of_public_pins_its_search_path(acme: Tenant) -> None:
    with public_session() as session:
        for schema, pin in PINS.items():
            assert session.scalars(_UNPINNED, {"schema": schema, "pin": pin}).all() == []
            functions = text(
                "SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)"
            )
            assert (session.scalar(functions, {"schema": schema}) or 0) > 7


def test_tables_planted_in_a_tenants_schema_capture_nothing(acme: Tenant) -> None:
    with admin_db.tenant_session(acme.ref) as session:
        for table in ("procrastinate_jobs", "procrastinate_events", "procrastinate_workers"):
            session.execute(text(f"CREATE TABLE {table} (LIKE jobs.{table} INCLUDING ALL)"))

    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "planted.test", number="+1")

    with admin_db.tenant_session(acme.ref) as session:
        assert session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == 0
        assert session.scalar(text("SELECT count(*) FROM procrastinate_events")) == 0
    assert _in_queue(acme) == 1


def test_functions_planted_in_a_tenants_schema_are_not_called(acme: Tenant) -> None:
    plant = """
        CREATE FUNCTION procrastinate_defer_jobs_v1(jobs.procrastinate_job_to_defer_v1[])
        RETURNS bigint[] LANGUAGE sql AS $$ SELECT ARRAY[-1::bigint] $$
    """
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text(plant))

    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "planted.test", number="+1")

    assert _in_queue(acme) == 1


def test_the_tenant_of_a_job_is_the_transactions_whatever_its_arguments_say(
    acme: Tenant, globex: Tenant
) -> None:
    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "planted.test", tenant_id=globex.id)

    assert (_in_queue(acme), _in_queue(globex)) == (1, 0)


def test_a_job_is_there_when_its_transaction_has_committed_and_not_else(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "planted.test")
        assert _in_queue(acme) == 0
        session.rollback()

    assert _in_queue(acme) == 0


def test_an_insert_wakes_nobody(world: Factory) -> None:
    """The worker polls: a NOTIFY on every insert would serialise commits."""
    enabled = text(
        "SELECT tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE tgrelid = 'jobs.procrastinate_jobs'::regclass AND tgenabled <> 'D'"
        " AND p.prosrc ILIKE '%pg_notify%' AND t.tgtype::int & 4 > 0"
    )
    with public_session() as session:
        assert session.scalars(enabled).all() == []


def test_the_queues_schema_equals_what_its_migrations_build(empty_database: Database) -> None:
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
        installed, migrated = dump_schema(connection, "new"), dump_schema(connection, "old")
        session.execute(text("DROP SCHEMA new, old CASCADE"))

    assert installed == migrated
    assert len(installed) > 50
