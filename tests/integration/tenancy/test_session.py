"""The door: a transaction is in its tenant, or it is an error; and nothing of it stays behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from tests.support import admin_db
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.populated_tenant import SignedCarrierClient, populate_tenant
from vca.jobs import queue
from vca.kit import db, deadline
from vca.kit.db import Database, DatabaseFailure, DatabaseUnavailable
from vca.registry.number_registry import service as dids
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

Pool = Callable[..., Database]
DEFAULT_PATH = '"$user", public'


def _where(connection: Any) -> tuple[str, str]:
    """The path and the tenant of whatever comes next on a connection."""
    shown = "SELECT current_setting('search_path'), current_setting('vca.tenant_id', true)"
    path, tenant = connection.execute(text(shown)).one()
    return path, tenant or ""


def _pid(session: Any) -> int:
    found: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return found


def _until(done: Callable[[], Any], *, within_s: float = 10) -> Any:
    """Ask until the answer is true; its answer."""
    ends_at, pause = monotonic() + within_s, threading.Event()
    while not (answer := done()):
        assert monotonic() < ends_at, "waited in vain"
        pause.wait(0.02)
    return answer


# --- In, or an error --------------------------------------------------------------------------


def test_inside_is_the_tenants_own_schema_and_nothing_else(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        assert _where(session) == (acme.ref.schema, acme.id)
        assert session.scalars(select(Settings.id)).all() == [UUID(acme.id)]
        assert session.scalar(text("SELECT public.acting_tenant()")) == acme.ref.id
        with pytest.raises(DBAPIError) as error:
            session.execute(text("SELECT count(*) FROM tenants"))  # unqualified: not in the path

    assert db.sqlstate(error.value) == "42P01"


def test_a_schema_that_does_not_exist_is_an_error_before_the_first_statement(acme: Tenant) -> None:
    entered = False

    with pytest.raises(IsolationError), tenant_session(TenantRef(uuid4())):
        entered = True

    assert not entered


@pytest.fixture
def swapped(acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker) -> Iterator[None]:
    """Acme's schema and Globex's under each other's names."""

    def swap() -> None:
        one, other = acme.ref.schema, globex.ref.schema
        for old, new in ((one, "aside"), (other, one), ("aside", other)):
            db_snapshot.rows(f'ALTER SCHEMA "{old}" RENAME TO "{new}"')

    swap()
    yield
    swap()


@pytest.mark.usefixtures("swapped")
def test_a_schema_that_is_another_tenants_is_an_error_before_the_first_statement(
    app: Flask, acme: Tenant
) -> None:
    entered = False

    with pytest.raises(IsolationError), tenant_session(acme.ref):
        entered = True
    answer = app.test_client().get(
        acme.url("/settings"), headers={"Authorization": f"Bearer {acme.key}"}
    )

    assert not entered
    assert (answer.status_code, answer.json["code"]) == (500, "internal-error")


@pytest.mark.usefixtures("swapped")
def test_an_owner_is_fenced_too_and_leaves_nothing_behind(
    acme: Tenant, globex: Tenant, owner_database: Database, db_snapshot: SnapshotChecker
) -> None:
    with pytest.raises(IsolationError), owner_session(acme.ref, database=owner_database):
        pytest.fail("entered")
    with pytest.raises(IsolationError), owner_database.connection() as connection:
        run_script(connection, acme.ref, "CREATE TABLE left_behind (id uuid)")

    assert not db_snapshot.rows("SELECT FROM pg_class WHERE relname = 'left_behind'")


@pytest.mark.parametrize("lacking", ["the value", "the type"])
def test_a_schema_that_does_not_say_whose_it_is_is_an_error(
    lacking: str, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    one, aside = (f'"{acme.ref.schema}".{name}' for name in ("tenant_identity", "aside"))
    spoil, mend = {
        "the value": (
            f"ALTER TYPE {one} RENAME VALUE '{acme.id}' TO '{globex.id}'",
            f"ALTER TYPE {one} RENAME VALUE '{globex.id}' TO '{acme.id}'",
        ),
        "the type": (
            f"ALTER TYPE {one} RENAME TO aside",
            f"ALTER TYPE {aside} RENAME TO tenant_identity",
        ),
    }[lacking]
    db_snapshot.rows(spoil)

    with pytest.raises(IsolationError), tenant_session(acme.ref):
        pytest.fail("entered")
    db_snapshot.rows(mend)
    with tenant_session(acme.ref) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]


def test_a_missing_schema_never_falls_back_to_public(
    acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    """Even if `public` had a type of the fence's name, with the right tenant in it."""
    ghost = TenantRef(uuid4())
    db_snapshot.rows(f"CREATE TYPE public.tenant_identity AS ENUM ('{ghost.id}')")
    try:
        with pytest.raises(IsolationError), tenant_session(ghost):
            pytest.fail("entered")
    finally:
        db_snapshot.rows("DROP TYPE public.tenant_identity")


def test_outside_no_tenants_table_can_be_found(acme: Tenant) -> None:
    acme.profile()

    for outer in (public_session, public_connection):
        with pytest.raises(DBAPIError) as error, outer() as session:
            session.execute(select(AiProfile.id))
        assert db.sqlstate(error.value) == "42P01"
    with public_session() as session:
        assert _where(session) == (DEFAULT_PATH, "")


def test_outside_nothing_can_be_done_in_a_tenants_name(acme: Tenant) -> None:
    number = fresh_number()

    with pytest.raises(DBAPIError), public_session() as session:
        dids.claim(
            session,
            number=number,
            phone_number_id=uuid4(),
            carrier=ProviderAccountRef("generic"),
            policy="open",
        )
    with public_session() as session:
        assert dids.current_holder(session, number=number) is None


def test_a_door_cannot_be_opened_inside_a_transaction_that_is_open_already(
    acme: Tenant, globex: Tenant, make_pool: Pool
) -> None:
    """The transaction would go on where it is, and the next one would begin at the tenant."""
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
        assert _where(connection) == (DEFAULT_PATH, "")


def test_two_tenants_at_once_are_two_transactions(acme: Tenant, globex: Tenant) -> None:
    with tenant_session(acme.ref) as one, tenant_session(globex.ref) as other:
        assert _where(one) == (acme.ref.schema, acme.id)
        assert _where(other) == (globex.ref.schema, globex.id)
        assert one.scalars(select(Settings.tenant_id)).all() == [UUID(acme.id)]
        assert other.scalars(select(Settings.tenant_id)).all() == [UUID(globex.id)]


def test_a_savepoint_changes_nothing_of_where_a_session_is(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        assert _where(session) == (acme.ref.schema, acme.id)
        with session.begin_nested():
            session.execute(text("SELECT 1"))
        assert _where(session) == (acme.ref.schema, acme.id)


def test_a_schemas_name_has_one_form_and_comes_from_the_id_alone(acme: Tenant) -> None:
    for tenant_id in (uuid4(), UUID(int=0), UUID(int=2**128 - 1)):
        assert schema_name(tenant_id) == f"t_{tenant_id.hex}"
        assert len(schema_name(tenant_id)) == 34
    assert acme.ref.schema == schema_of(acme.id)


# --- A row cannot land at another tenant ------------------------------------------------------


def test_every_table_refuses_a_row_that_is_another_tenants(
    world: Factory, carrier: FakeTelephonyAdapter, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    premises = populate_tenant(world, world.platform(), SignedCarrierClient(world, carrier), "acme")
    tables = db_snapshot.tables(premises.tenant.id)
    assert len(tables) == TABLES_PER_TENANT

    for table in tables:
        column = "id" if table == "tenant_self" else "tenant_id"
        moved = text(f"UPDATE {table} SET {column} = :other")
        with (
            admin_db.tenant_session(premises.tenant.ref) as session,
            pytest.raises(IntegrityError) as error,
        ):
            session.execute(moved, {"other": globex.id})
        assert db.sqlstate(error.value) == "23514"
        refused_by = {f"{table}_{column}_check", "settings_one_check"}
        assert db.constraint_name(error.value) in refused_by


def test_a_row_says_whose_it_is_by_its_transaction_and_never_by_a_default(
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


def test_a_job_is_the_transactions_tenants_whatever_its_arguments_say(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "phone_numbers.register", tenant_id=globex.id, number="x")

    kept = db_snapshot.rows(
        "SELECT args->>'tenant_id' FROM jobs.procrastinate_jobs WHERE args->>'number' = 'x'"
    )
    db_snapshot.rows("DELETE FROM jobs.procrastinate_jobs WHERE args->>'number' = 'x'")
    assert kept == [(acme.id,)]


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


# --- Nothing stays behind ---------------------------------------------------------------------


@dataclass
class Ending:
    """A way in which a tenant's transaction ends; whether its connection is used again after."""

    end: Callable[[Session, SnapshotChecker], Any]
    reused: bool = True


def _raise(session: Session, evidence: SnapshotChecker) -> None:
    raise KeyError("of ours")


def _cancelled(session: Session, evidence: SnapshotChecker) -> None:
    with _while_it_sleeps(session, evidence, "pg_cancel_backend"):
        session.execute(text("SELECT pg_sleep(20)"))


def _killed(session: Session, evidence: SnapshotChecker) -> None:
    with _while_it_sleeps(session, evidence, "pg_terminate_backend"):
        session.execute(text("SELECT pg_sleep(20)"))


def _killed_between(session: Session, evidence: SnapshotChecker) -> None:
    evidence.rows("SELECT pg_terminate_backend(%s)", _pid(session))
    session.execute(text("SELECT 1"))


def _too_late(session: Session, evidence: SnapshotChecker) -> None:
    with deadline.within(0.05):
        session.execute(text("SELECT pg_sleep(20)"))


@contextmanager
def _while_it_sleeps(session: Session, evidence: SnapshotChecker, do: str) -> Iterator[None]:
    pid = _pid(session)
    asleep = (
        f"SELECT {do}(pid) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        " AND wait_event = 'PgSleep'"
    )
    watch = threading.Thread(target=lambda: _until(lambda: evidence.rows(asleep, pid)))
    watch.start()
    try:
        yield
    finally:
        watch.join()


def _statement(sql: str) -> Callable[[Session, SnapshotChecker], Any]:
    return lambda session, evidence: [
        session.execute(text(each)) for each in sql.split(";") if each.strip()
    ]


ENDINGS = {
    "commit": Ending(_statement("SELECT 1")),
    "commit in the block": Ending(lambda session, evidence: session.commit()),
    "rollback in the block": Ending(lambda session, evidence: session.rollback()),
    "an exception of ours": Ending(_raise),
    "a bad statement": Ending(_statement("SELECT 1 / 0")),
    "a syntax error": Ending(_statement("SELEC")),
    "a refused row": Ending(_statement(f"UPDATE settings SET tenant_id = '{uuid4()}'")),
    "a statement time-out": Ending(
        _statement("SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(20)")
    ),
    "a cancelled statement": Ending(_cancelled),
    "a killed backend": Ending(_killed, reused=False),
    "a backend killed between statements": Ending(_killed_between, reused=False),
    "our own deadline": Ending(_too_late, reused=False),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_path_and_tenant_do_not_outlive_their_transaction(
    how: str, acme: Tenant, globex: Tenant, make_pool: Pool, db_snapshot: SnapshotChecker
) -> None:
    ending, one = ENDINGS[how], make_pool(1)
    pids = []

    try:
        with tenant_session(acme.ref, database=one) as session:
            pids.append(_pid(session))
            ending.end(session, db_snapshot)
    except (KeyError, DBAPIError, DatabaseFailure):
        assert not how.startswith(("commit", "rollback"))

    def back() -> bool:
        try:
            with one.connection() as connection:
                pids.append(_pid(connection))
                assert _where(connection) == (DEFAULT_PATH, "")
                with pytest.raises(DBAPIError):
                    connection.execute(select(PhoneNumber.id))
        except DatabaseUnavailable:  # the breaker is being careful
            return False
        return True

    _until(back)
    with tenant_session(globex.ref, database=one) as session:
        assert _where(session) == (globex.ref.schema, globex.id)
    assert (pids[-1] == pids[0]) is ending.reused


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_session_that_goes_on_after_its_end_is_nowhere(end: str, acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        getattr(session, end)()
        with pytest.raises(DBAPIError) as error:
            session.execute(select(Settings.id))

    assert db.sqlstate(error.value) == "42P01"


def test_what_was_written_before_the_end_went_wrong_is_gone(
    acme: Tenant, db_snapshot: SnapshotChecker, make_pool: Pool
) -> None:
    before = db_snapshot.checksum(acme.id)

    def write_and_end(how: str) -> None:
        with tenant_session(acme.ref, database=make_pool(1)) as session:
            session.execute(text("UPDATE settings SET time_zone = 'Asia/Tokyo'"))
            session.add(_profile())
            session.flush()
            ENDINGS[how].end(session, db_snapshot)

    for how in ("an exception of ours", "a cancelled statement", "a killed backend"):
        with pytest.raises((KeyError, DatabaseFailure)):
            write_and_end(how)

    assert db_snapshot.checksum(acme.id) == before


def test_a_backend_killed_in_the_middle_of_a_request_is_a_503_and_the_next_request_is_well(
    acme: Tenant, globex: Tenant, make_pool: Pool, db_snapshot: SnapshotChecker
) -> None:
    profile = acme.profile(greeting="before")
    before = db_snapshot.checksum(acme.id)
    one = db.set_current_database(make_pool(1))
    killed: list[int] = []

    @event.listens_for(one.engine, "before_cursor_execute")
    def kill(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE ai_profiles") and not killed:
            killed.append(connection.connection.dbapi_connection.info.backend_pid)
            db_snapshot.rows("SELECT pg_terminate_backend(%s)", killed[0])

    refused = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "after"})

    assert (refused.status_code, refused.json["code"]) == (503, "database-unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert killed
    assert db_snapshot.checksum(acme.id) == before
    well = _until(lambda: (answer := globex.get("/ai-profiles")).status_code == 200 and answer)
    assert well.json == []
    again = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "after"})
    assert (again.status_code, again.json["version"]) == (200, 2)
