"""Migrate thousands of schemas: one short transaction each, with any number of workers and runs.

The revision of each tenant is stored in a table that this module does not know. A RevisionStore
lists the tenants that are behind, and gives the SQL that claims a tenant and records its new
revision. The same transaction does the DDL, so that at every moment each tenant is either at one
revision or at the next.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import randrange
from threading import Event, Lock, Thread
from time import sleep
from typing import Protocol

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from vca.kit import db, postgres_errors
from vca.kit.backoff import BackOff
from vca.kit.db import DatabaseBusy, DatabaseFailure, DatabaseUnavailable
from vca.tenancy import schema, session
from vca.tenancy.database import TenantDatabase
from vca.tenancy.roles import Roles
from vca.tenancy.schema import MigrationStep, TenantRef
from vca.tenancy.session import IsolationError

# SQLSTATE that `RevisionStore.claim_sql` raises: 2201E is the logarithm of zero.
CLAIM_REFUSED = "2201E"
LOCK_TIMEOUT_MS = 500
WORKERS = 4
BACK_OFF = BackOff((0.5, 1.0, 2.0), jitter=0)
_STATEMENT_TIMEOUT_S = 600.0
_POLL_INTERVAL_S = 0.1
# A server process caches the catalogue of each schema that it touched, and its memory grows with
# it.
_TENANTS_PER_CONNECTION = 200


@dataclass(frozen=True)
class PendingTenant:
    """A tenant that is behind, and the revision of its schema."""

    tenant: TenantRef
    revision: str


@dataclass(frozen=True)
class MigrationFailure:
    """Why a tenant could not be migrated, without SQL and without the values of rows."""

    reason: str
    sqlstate: str | None = None
    message: str | None = None

    def __str__(self) -> str:
        named = f"{self.sqlstate} {self.reason}" if self.sqlstate else self.reason
        return f"{named}: {self.message}" if self.message else named


CLAIMED_ELSEWHERE = MigrationFailure("InUseElsewhere")
_FAILURES = (psycopg2.Error, DBAPIError, IsolationError)


class RevisionStore(Protocol):
    """The place where each tenant's revision is stored."""

    def list_pending(self) -> Sequence[PendingTenant]:
        """Return every tenant whose revision is known to this code and is not the head.

        It is one query.
        """

    def claim_sql(self, tenant: TenantRef, *, from_revision: str, to_revision: str) -> str:
        """Return SQL that locks the tenant's record and sets its revision to `to_revision`.

        The SQL must not wait. It raises SQLSTATE `CLAIM_REFUSED` for a record that another
        transaction has locked or that is not at `from_revision`.
        """


class Observer:
    """Callbacks for the progress of a run, called in the thread that started it. All do nothing."""

    def on_start(self, total: int) -> None:
        """`total` tenants are behind."""

    def on_progress(self, migrated: int) -> None:
        """`migrated` tenants have been migrated so far."""

    def on_failure(self, tenant: TenantRef, failure: MigrationFailure) -> None:
        """`tenant` was skipped because of `failure`."""

    def on_retry(self, count: int, pause_s: float) -> None:
        """`count` skipped tenants will be tried again after `pause_s` seconds."""

    def on_interrupt(self) -> None:
        """Ctrl-C was pressed; the tenants in progress are finished first."""


@dataclass(frozen=True)
class MigrationOptions:
    """How to migrate.

    `canary` tenants are migrated first; if one of them fails, the others are not started.
    """

    workers: int = WORKERS
    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    canary: int = 0
    back_off: BackOff = field(default_factory=lambda: BACK_OFF)


@dataclass
class MigrationOutcome:
    """The result of a run: tenants migrated and remaining, and the reason of each failure."""

    migrated: int = 0
    remaining: int = 0
    failed: dict[TenantRef, MigrationFailure] = field(default_factory=dict)
    interrupted: bool = False
    stopped_at_canary: bool = False
    database_unavailable: bool = False


class RevisionFailed(RuntimeError):
    """The Python code of a revision raised an error that is not the database's."""


class MigrationRun:
    """One run over all tenants that are behind."""

    def __init__(
        self,
        store: RevisionStore,
        database: TenantDatabase,
        options: MigrationOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._store = store
        self._options = options or MigrationOptions()
        self._observer = observer or Observer()
        self._outcome = MigrationOutcome()
        self._migrated: set[TenantRef] = set()
        self._migrated_elsewhere: set[TenantRef] = set()
        self._total = self._processed_results = 0
        self._pool = WorkerPool(store, database, self._options.lock_timeout_ms)

    def migrate(self) -> MigrationOutcome:
        """Migrate the tenants that the store lists; Ctrl-C stops after the tenants in progress.

        A tenant that fails is skipped and tried again in later rounds, with pauses between them.
        Raises DatabaseUnavailable if the list of tenants could not be read.
        """
        pending_tenants = self._store.list_pending()
        self._total = self._outcome.remaining = len(pending_tenants)
        self._observer.on_start(len(pending_tenants))
        try:
            self._migrate_pending(pending_tenants)
        except KeyboardInterrupt:
            self._outcome.interrupted = True
        except DatabaseUnavailable:
            self._outcome.database_unavailable = True
        return self._outcome

    def _migrate_pending(self, pending_tenants: Sequence[PendingTenant]) -> None:
        canary_count = self._options.canary
        self._migrate_with_retries(pending_tenants[:canary_count])
        if self._outcome.failed:
            self._outcome.stopped_at_canary = True
            return
        others = pending_tenants[canary_count:]
        # Runs that begin at the same time start at random places, so that they rarely meet.
        start = randrange(len(others) or 1)
        self._migrate_with_retries([*others[start:], *others[:start]])

    def _migrate_with_retries(self, pending_tenants: Sequence[PendingTenant]) -> None:
        """Migrate these tenants in one round, and those that failed in further rounds."""
        self._run_round(pending_tenants)
        back_off, failures = self._options.back_off, 1
        while back_off.allows_retry(failures):
            failed_tenants = self._refresh_failures()
            if not failed_tenants:
                return
            pause_s = back_off.delay_s(failures)
            self._observer.on_retry(len(failed_tenants), pause_s)
            sleep(pause_s)
            failures += 1
            self._run_round(failed_tenants)
        self._refresh_failures()

    def _refresh_failures(self) -> Sequence[PendingTenant]:
        """Return the failed tenants except those that another run has migrated meanwhile."""
        failed = self._outcome.failed
        if not failed:
            return []
        still_pending = [
            pending for pending in self._store.list_pending() if pending.tenant in failed
        ]
        self._migrated_elsewhere |= failed.keys() - {pending.tenant for pending in still_pending}
        self._outcome.failed = {pending.tenant: failed[pending.tenant] for pending in still_pending}
        self._update_totals()
        return still_pending

    def _run_round(self, pending_tenants: Sequence[PendingTenant]) -> None:
        try:
            self._pool.start(pending_tenants, self._options.workers)
            self._await_workers()
        except KeyboardInterrupt:
            self._pool.stop_requested.set()
            self._observer.on_interrupt()
            self._await_workers()
            raise
        if self._pool.database_error is not None:
            raise self._pool.database_error

    def _await_workers(self) -> None:
        """Process the workers' results until they end.

        `Thread.join` does not work here: a thread whose join is interrupted counts as ended.
        """
        for finished in self._pool.finished_events:
            while not finished.wait(_POLL_INTERVAL_S):
                self._process_results()
        self._process_results()

    def _process_results(self) -> None:
        """Process new results.

        Ctrl-C may come between any two lines: a result is then processed twice, or later.
        """
        while self._processed_results < len(self._pool.results):
            tenant, failure = self._pool.results[self._processed_results]
            if failure is None:
                self._migrated.add(tenant)
                self._outcome.failed.pop(tenant, None)
            else:
                self._outcome.failed[tenant] = failure
                if failure is not CLAIMED_ELSEWHERE:
                    self._observer.on_failure(tenant, failure)
            self._processed_results += 1
        self._update_totals()
        self._observer.on_progress(self._outcome.migrated)

    def _update_totals(self) -> None:
        self._outcome.migrated = len(self._migrated)
        self._outcome.remaining = self._total - len(self._migrated | self._migrated_elsewhere)


class WorkerPool:
    """Worker threads; threads suffice, because nearly all of the time is spent in the server."""

    def __init__(
        self, store: RevisionStore, database: TenantDatabase, lock_timeout_ms: int
    ) -> None:
        self.stop_requested = Event()
        self.finished_events: list[Event] = []
        self.results: list[tuple[TenantRef, MigrationFailure | None]] = []
        self.database_error: DatabaseUnavailable | None = None
        self._store = store
        self._database = database
        self._timeouts_sql = (
            f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {lock_timeout_ms}"
        )
        self._queue: deque[PendingTenant] = deque()
        self._head = schema.head()
        # Alembic's `op` is global to the process: two threads would write into each other's schema.
        self._python_lock = Lock()

    def start(self, pending_tenants: Sequence[PendingTenant], workers: int) -> None:
        """Start to migrate these tenants with at most `workers` threads."""
        for revision in {pending.revision for pending in pending_tenants}:
            schema.compile_steps(
                revision, for_citus=self._database.on_citus
            )  # compile before threads start
        self._queue.extend(pending_tenants)
        for _ in range(min(workers, len(pending_tenants))):
            finished = Event()
            # Daemon threads: a second Ctrl-C does not wait for them, and their transactions are
            # safe to abort.
            Thread(target=self._run_worker, args=(finished,), daemon=True).start()
            self.finished_events.append(finished)

    def _run_worker(self, finished: Event) -> None:
        """Migrate one tenant after the other until none is left or a stop is requested."""
        try:
            with db.statement_timeout_scope(_STATEMENT_TIMEOUT_S):
                while self._queue and not self.stop_requested.is_set():
                    with self._database.connection() as connection:
                        self._migrate_on(connection)
        except DatabaseUnavailable as error:
            self.database_error = error
            self.stop_requested.set()
        finally:
            finished.set()

    def _migrate_on(self, connection: Connection) -> None:
        for _ in range(_TENANTS_PER_CONNECTION):
            try:
                pending = self._queue.popleft()
            except IndexError:
                return
            self.results.append((pending.tenant, self._try_migrate(pending, connection)))
            if connection.connection.closed:
                connection.invalidate()
                return
            if self.stop_requested.is_set():
                return

    def _try_migrate(
        self, pending: PendingTenant, connection: Connection
    ) -> MigrationFailure | None:
        steps = schema.compile_steps(pending.revision, for_citus=self._database.on_citus)
        try:
            if any(step.upgrade for step in steps):
                self._migrate_with_python(pending, steps)
            else:
                self._migrate_with_sql(pending, steps, connection)
        except (*_FAILURES, RevisionFailed) as error:
            return _describe_failure(error)
        except DatabaseBusy as error:
            return _describe_failure(error.__cause__ or error)
        return None

    def _migrate_with_sql(
        self, pending: PendingTenant, steps: Sequence[MigrationStep], connection: Connection
    ) -> None:
        scripts = [_tenant_script(step, pending.tenant, self._database.roles) for step in steps]
        session.run_script(
            connection,
            pending.tenant,
            ";\n".join([self._timeouts_sql, self._claim_sql(pending), *scripts]),
        )

    def _migrate_with_python(self, pending: PendingTenant, steps: Sequence[MigrationStep]) -> None:
        """Run the same transaction step by step, on its own connection."""
        with (
            self._python_lock,
            session.owner_session(pending.tenant, database=self._database) as db_session,
        ):
            connection = db_session.connection()
            # Python code may take long between two statements.
            timeouts_sql = (
                f"{self._timeouts_sql}; SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            db.execute_script(connection, f"{timeouts_sql}; {self._claim_sql(pending)}")
            for step in steps:
                if step.upgrade is None:
                    db.execute_script(
                        connection, _tenant_script(step, pending.tenant, self._database.roles)
                    )
                else:
                    _run_python_step(step, connection)

    def _claim_sql(self, pending: PendingTenant) -> str:
        return self._store.claim_sql(
            pending.tenant, from_revision=pending.revision, to_revision=self._head
        )


def _tenant_script(step: MigrationStep, tenant: TenantRef, roles: Roles) -> str:
    return schema.render_for_tenant(step.script, tenant, grantees=roles.grantees(tenant))


def _run_python_step(step: MigrationStep, connection: Connection) -> None:
    """Run a Python step; raise RevisionFailed for errors that are not the database's.

    The run can then go on with other tenants.
    """
    try:
        step.run_python(connection)
    except (*_FAILURES, DatabaseFailure):
        raise
    except Exception as error:
        raise RevisionFailed(f"revision {step.revision}") from error


def _describe_failure(error: BaseException) -> MigrationFailure:
    """Return the database's own name of the error, and its SQLSTATE."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, RevisionFailed):
        cause = error.__cause__
    if cause is None or not postgres_errors.is_driver_error(cause):
        return MigrationFailure(type(cause).__name__)
    sqlstate = postgres_errors.sqlstate(cause)
    message = postgres_errors.message_without_values(cause)
    return (
        CLAIMED_ELSEWHERE
        if sqlstate == CLAIM_REFUSED
        else MigrationFailure(type(cause).__name__, sqlstate, message)
    )
