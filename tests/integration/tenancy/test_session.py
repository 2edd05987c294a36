"""Tests of sessions: each is in its tenant's schema or fails, and its settings end with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from tests.support import admin_db
from tests.support.api import ApiResponse
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.populated_tenant import SignedCarrierClient, populate_tenant
from vca.jobs import queue
from vca.kit import db, deadline
from vca.kit.db import Database, DatabaseFailure, DatabaseUnavailable
from vca.registry.number_registry import service as number_registry
from vca.registry.preflight import TABLES_PER_TENANT
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef, schema_name
from vca.tenancy.session import (
    IsolationError,
    open_public,
    open_tenant,
    owner_session,
    public_connection,
    public_session,
    run_script,
    tenant_session,
)
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings.models import Settings

MakePool = Callable[..., Database]
Value = TypeVar("Value")
DEFAULT_PATH = '"$user", public'


def _search_path_and_tenant(connection: Session | Connection) -> tuple[str, str]:
    """Return the search path and the tenant id of a session or connection."""
    query = "SELECT current_setting('search_path'), current_setting('vca.tenant_id', true)"
    path, tenant_id = connection.execute(text(query)).one()
    return path, tenant_id or ""


def _pid(connection: Session | Connection) -> int:
    pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return pid


def _wait_for(condition: Callable[[], Value], *, within_s: float = 10) -> Value:
    """Poll until the condition returns a true value; return the value."""
    deadline_s, pause = monotonic() + within_s, threading.Event()
    while not (value := condition()):
        assert monotonic() < deadline_s, f"timed out after {within_s} s"
        pause.wait(0.02)
    return value


def test_a_tenant_session_reads_only_the_schema_of_its_tenant(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        assert _search_path_and_tenant(session) == (acme.ref.schema, acme.id)
        assert session.scalars(select(Settings.id)).all() == [UUID(acme.id)]
        assert session.scalar(text("SELECT public.acting_tenant()")) == acme.ref.id
        with pytest.raises(DBAPIError) as error:
            session.execute(text("SELECT count(*) FROM tenants"))  # `public` is not in the path

    assert db.sqlstate(error.value) == "42P01"


def test_a_missing_schema_fails_before_the_first_statement(acme: Tenant) -> None:
    entered = False

    with pytest.raises(IsolationError), tenant_session(TenantRef(uuid4())):
        entered = True

    assert not entered


@pytest.fixture
def swapped_schemas(acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker) -> Iterator[None]:
    """Swap the names of the schemas of Acme and Globex."""

    def swap() -> None:
        acme_schema, globex_schema = acme.ref.schema, globex.ref.schema
        for old, new in (
            (acme_schema, "aside"),
            (globex_schema, acme_schema),
            ("aside", globex_schema),
        ):
            db_snapshot.rows(f'ALTER SCHEMA "{old}" RENAME TO "{new}"')

    swap()
    yield
    swap()


@pytest.mark.usefixtures("swapped_schemas")
def test_a_schema_of_another_tenant_fails_before_the_first_statement(
    app: Flask, acme: Tenant
) -> None:
    entered = False

    with pytest.raises(IsolationError), tenant_session(acme.ref):
        entered = True
    response = cast(
        ApiResponse,
        app.test_client().get(
            acme.url("/settings"), headers={"Authorization": f"Bearer {acme.key}"}
        ),
    )

    assert not entered
    assert (response.status_code, response.json["code"]) == (500, "internal-error")


@pytest.mark.usefixtures("swapped_schemas")
def test_an_owner_session_fails_in_a_schema_of_another_tenant(
    acme: Tenant, globex: Tenant, owner_database: Database, db_snapshot: SnapshotChecker
) -> None:
    with pytest.raises(IsolationError), owner_session(acme.ref, database=owner_database):
        pytest.fail("entered")
    with pytest.raises(IsolationError), owner_database.connection() as connection:
        run_script(connection, acme.ref, "CREATE TABLE left_behind (id uuid)")

    assert not db_snapshot.rows("SELECT FROM pg_class WHERE relname = 'left_behind'")


@pytest.mark.parametrize("missing", ["the value", "the type"])
def test_a_schema_without_the_identity_of_its_tenant_fails(
    missing: str, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    identity_type, renamed_type = (
        f'"{acme.ref.schema}".{name}' for name in ("tenant_identity", "aside")
    )
    change, repair = {
        "the value": (
            f"ALTER TYPE {identity_type} RENAME VALUE '{acme.id}' TO '{globex.id}'",
            f"ALTER TYPE {identity_type} RENAME VALUE '{globex.id}' TO '{acme.id}'",
        ),
        "the type": (
            f"ALTER TYPE {identity_type} RENAME TO aside",
            f"ALTER TYPE {renamed_type} RENAME TO tenant_identity",
        ),
    }[missing]
    db_snapshot.rows(change)

    with pytest.raises(IsolationError), tenant_session(acme.ref):
        pytest.fail("entered")
    db_snapshot.rows(repair)
    with tenant_session(acme.ref) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]


def test_a_missing_schema_never_falls_back_to_public(
    acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    """Create a valid identity type in `public`, which the session must not use."""
    missing_tenant = TenantRef(uuid4())
    db_snapshot.rows(f"CREATE TYPE public.tenant_identity AS ENUM ('{missing_tenant.id}')")
    try:
        with pytest.raises(IsolationError), tenant_session(missing_tenant):
            pytest.fail("entered")
    finally:
        db_snapshot.rows("DROP TYPE public.tenant_identity")


def test_a_public_session_finds_no_tenant_table(acme: Tenant) -> None:
    acme.profile()

    for open_session in (public_session, public_connection):
        with pytest.raises(DBAPIError) as error, open_session() as session:
            session.execute(select(AiProfile.id))
        assert db.sqlstate(error.value) == "42P01"
    with public_session() as session:
        assert _search_path_and_tenant(session) == (DEFAULT_PATH, "")


def test_a_public_session_cannot_claim_a_number(acme: Tenant) -> None:
    number = fresh_number()

    with pytest.raises(DBAPIError), public_session() as session:
        number_registry.claim(
            session,
            number=number,
            phone_number_id=uuid4(),
            carrier=ProviderAccountRef("generic"),
            policy="open",
        )
    with public_session() as session:
        assert number_registry.current_holder(session, number=number) is None


def test_a_session_cannot_be_opened_inside_an_open_transaction(
    acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    """The open transaction would stay where it is, and the next one would begin in the tenant."""
    with make_pool(1).connection() as connection:
        with open_tenant(connection, globex.ref), pytest.raises(IsolationError):  # noqa: SIM117
            with open_tenant(connection, acme.ref):
                pytest.fail("entered")
        with (
            open_tenant(connection, globex.ref),
            pytest.raises(IsolationError),
            open_public(connection),
        ):
            pytest.fail("left")
        connection.rollback()
        assert _search_path_and_tenant(connection) == (DEFAULT_PATH, "")


def test_concurrent_sessions_of_two_tenants_are_separate_transactions(
    acme: Tenant, globex: Tenant
) -> None:
    with tenant_session(acme.ref) as acme_session, tenant_session(globex.ref) as globex_session:
        assert _search_path_and_tenant(acme_session) == (acme.ref.schema, acme.id)
        assert _search_path_and_tenant(globex_session) == (globex.ref.schema, globex.id)
        assert acme_session.scalars(select(Settings.tenant_id)).all() == [UUID(acme.id)]
        assert globex_session.scalars(select(Settings.tenant_id)).all() == [UUID(globex.id)]


def test_a_savepoint_does_not_change_search_path_and_tenant(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        assert _search_path_and_tenant(session) == (acme.ref.schema, acme.id)
        with session.begin_nested():
            session.execute(text("SELECT 1"))
        assert _search_path_and_tenant(session) == (acme.ref.schema, acme.id)


def test_the_schema_name_is_derived_from_the_tenant_id(acme: Tenant) -> None:
    for tenant_id in (uuid4(), UUID(int=0), UUID(int=2**128 - 1)):
        assert schema_name(tenant_id) == f"t_{tenant_id.hex}"
        assert len(schema_name(tenant_id)) == 34
    assert acme.ref.schema == schema_of(acme.id)


def test_every_table_rejects_a_row_with_another_tenants_id(
    world: Factory, carrier: FakeTelephonyAdapter, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    populated_tenant = populate_tenant(
        world, world.platform(), SignedCarrierClient(world, carrier), "acme"
    )
    tables = db_snapshot.tables(populated_tenant.tenant.id)
    assert len(tables) == TABLES_PER_TENANT

    for table in tables:
        column = "id" if table == "tenant_self" else "tenant_id"
        update = text(f"UPDATE {table} SET {column} = :other")
        with (
            admin_db.tenant_session(populated_tenant.tenant.ref) as session,
            pytest.raises(IntegrityError) as error,
        ):
            session.execute(update, {"other": globex.id})
        assert db.sqlstate(error.value) == "23514"
        constraints = {f"{table}_{column}_check", "settings_one_check"}
        assert db.constraint_name(error.value) in constraints


def test_the_tenant_id_of_a_row_comes_from_the_session_and_not_from_a_default(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    defaults = db_snapshot.rows(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = %s"
        " AND column_name = 'tenant_id' AND (column_default IS NOT NULL OR is_nullable = 'YES')",
        acme.ref.schema,
    )
    with pytest.raises(IntegrityError), tenant_session(acme.ref) as session:
        session.add(_profile(tenant_id=UUID(globex.id)))
    with tenant_session(acme.ref) as session:
        session.add(_profile())

    assert defaults == []
    assert [profile["tenant_id"] for profile in acme.get("/ai-profiles").json] == [acme.id]


def test_the_tenant_id_of_a_job_comes_from_the_session_and_not_from_arguments(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "phone_numbers.register", tenant_id=globex.id, number="x")

    tenant_ids = db_snapshot.rows(
        "SELECT args->>'tenant_id' FROM jobs.procrastinate_jobs WHERE args->>'number' = 'x'"
    )
    db_snapshot.rows("DELETE FROM jobs.procrastinate_jobs WHERE args->>'number' = 'x'")
    assert tenant_ids == [(acme.id,)]


def _profile(**fields: Any) -> AiProfile:
    return AiProfile(
        id=uuid4(),
        name="x",
        role="custom",
        is_default=False,
        version=1,
        system_prompt="x",
        end_phrases=[],
        tools=[],
        transfer_targets={},
        recording=False,
        **fields,
    )


@dataclass
class Ending:
    """A way to end a tenant's transaction, and whether its connection is reused."""

    end: Callable[[Session, SnapshotChecker], object]
    reuses_connection: bool = True


def _raise_error(session: Session, db_snapshot: SnapshotChecker) -> None:
    raise KeyError("test")


def _cancel_statement(session: Session, db_snapshot: SnapshotChecker) -> None:
    with _call_during_sleep(session, db_snapshot, "pg_cancel_backend"):
        session.execute(text("SELECT pg_sleep(20)"))


def _kill_during_statement(session: Session, db_snapshot: SnapshotChecker) -> None:
    with _call_during_sleep(session, db_snapshot, "pg_terminate_backend"):
        session.execute(text("SELECT pg_sleep(20)"))


def _kill_between_statements(session: Session, db_snapshot: SnapshotChecker) -> None:
    db_snapshot.rows("SELECT pg_terminate_backend(%s)", _pid(session))
    session.execute(text("SELECT 1"))


def _exceed_deadline(session: Session, db_snapshot: SnapshotChecker) -> None:
    with deadline.within(0.05):
        session.execute(text("SELECT pg_sleep(20)"))


@contextmanager
def _call_during_sleep(
    session: Session, db_snapshot: SnapshotChecker, function: str
) -> Iterator[None]:
    pid = _pid(session)
    call_if_sleeping = (
        f"SELECT {function}(pid) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        " AND wait_event = 'PgSleep'"
    )
    thread = threading.Thread(
        target=lambda: _wait_for(lambda: db_snapshot.rows(call_if_sleeping, pid))
    )
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _execute(sql: str) -> Callable[[Session, SnapshotChecker], object]:
    return lambda session, _: [
        session.execute(text(statement)) for statement in sql.split(";") if statement.strip()
    ]


ENDINGS = {
    "commit": Ending(_execute("SELECT 1")),
    "commit in the block": Ending(lambda session, _: session.commit()),
    "rollback in the block": Ending(lambda session, _: session.rollback()),
    "an exception of the application": Ending(_raise_error),
    "a bad statement": Ending(_execute("SELECT 1 / 0")),
    "a syntax error": Ending(_execute("SELEC")),
    "a rejected row": Ending(_execute(f"UPDATE settings SET tenant_id = '{uuid4()}'")),
    "a statement timeout": Ending(
        _execute("SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(20)")
    ),
    "a cancelled statement": Ending(_cancel_statement),
    "a killed backend": Ending(_kill_during_statement, reuses_connection=False),
    "a backend killed between statements": Ending(
        _kill_between_statements, reuses_connection=False
    ),
    "an expired deadline": Ending(_exceed_deadline, reuses_connection=False),
}


@pytest.mark.parametrize("ending_name", ENDINGS)
def test_search_path_and_tenant_are_reset_at_the_end_of_a_transaction(
    ending_name: str,
    acme: Tenant,
    globex: Tenant,
    make_pool: MakePool,
    db_snapshot: SnapshotChecker,
) -> None:
    ending, database = ENDINGS[ending_name], make_pool(1)
    pids = []

    try:
        with tenant_session(acme.ref, database=database) as session:
            pids.append(_pid(session))
            ending.end(session, db_snapshot)
    except (KeyError, DBAPIError, DatabaseFailure):
        assert not ending_name.startswith(("commit", "rollback"))

    def connection_is_clean() -> bool:
        try:
            with database.connection() as connection:
                pids.append(_pid(connection))
                assert _search_path_and_tenant(connection) == (DEFAULT_PATH, "")
                with pytest.raises(DBAPIError):
                    connection.execute(select(PhoneNumber.id))
        except DatabaseUnavailable:  # the breaker is open
            return False
        return True

    _wait_for(connection_is_clean)
    with tenant_session(globex.ref, database=database) as session:
        assert _search_path_and_tenant(session) == (globex.ref.schema, globex.id)
    assert (pids[-1] == pids[0]) is ending.reuses_connection


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_session_finds_no_tenant_table_after_its_end(end: str, acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        getattr(session, end)()
        with pytest.raises(DBAPIError) as error:
            session.execute(select(Settings.id))

    assert db.sqlstate(error.value) == "42P01"


def test_a_failed_session_leaves_no_rows(
    acme: Tenant, db_snapshot: SnapshotChecker, make_pool: MakePool
) -> None:
    before = db_snapshot.checksum(acme.id)

    def write_and_end(ending_name: str) -> None:
        with tenant_session(acme.ref, database=make_pool(1)) as session:
            session.execute(text("UPDATE settings SET time_zone = 'Asia/Tokyo'"))
            session.add(_profile())
            session.flush()
            ENDINGS[ending_name].end(session, db_snapshot)

    for ending_name in (
        "an exception of the application",
        "a cancelled statement",
        "a killed backend",
    ):
        with pytest.raises((KeyError, DatabaseFailure)):
            write_and_end(ending_name)

    assert db_snapshot.checksum(acme.id) == before


def test_a_killed_backend_returns_503_and_the_next_request_succeeds(
    acme: Tenant, globex: Tenant, make_pool: MakePool, db_snapshot: SnapshotChecker
) -> None:
    profile = acme.profile(greeting="before")
    before = db_snapshot.checksum(acme.id)
    database = db.set_current_database(make_pool(1))
    killed_pids: list[int] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def kill_backend(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE ai_profiles") and not killed_pids:
            killed_pids.append(connection.connection.dbapi_connection.info.backend_pid)
            db_snapshot.rows("SELECT pg_terminate_backend(%s)", killed_pids[0])

    failed = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "after"})

    assert (failed.status_code, failed.json["code"]) == (503, "database-unavailable")
    assert int(failed.headers["Retry-After"]) > 0
    assert killed_pids
    assert db_snapshot.checksum(acme.id) == before
    globex_response = _wait_for(
        lambda: response if (response := globex.get("/ai-profiles")).status_code == 200 else None
    )
    assert globex_response is not None
    assert globex_response.json == []
    repeated = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "after"})
    assert (repeated.status_code, repeated.json["version"]) == (200, 2)
