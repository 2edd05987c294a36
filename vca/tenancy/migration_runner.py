"""Migrate thousands of schemas: one short transaction each, by any number of workers and runs.

Who is at which revision is written in a table that this module does not know: a ledger says who is
behind, and gives the SQL that takes a tenant and records its new revision. The same transaction
does the DDL, so that at every moment each tenant is at one revision or at the next.
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
from vca.kit.db import Database, DatabaseBusy, DatabaseFailure, DatabaseUnavailable
from vca.tenancy import roles, schema, session
from vca.tenancy.schema import MigrationStep, TenantRef
from vca.tenancy.session import IsolationError

# What the ledger's `take` raises: 2201E is the logarithm of zero.
CLAIM_REFUSED = "2201E"
LOCK_TIMEOUT_MS = 500
WORKERS = 4
RETRY_PAUSES_S = (0.5, 1.0, 2.0)
_STATEMENT_TIMEOUT_S = 600.0
_POLL_INTERVAL_S = 0.1
# A server process keeps the catalogue of each schema that it touched.
_TENANTS_PER_CONNECTION = 200


@dataclass(frozen=True)
class PendingTenant:
    """A tenant, and the revision that its schema is at."""

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
    """Where it is written which tenant is at which revision."""

    def list_pending(self) -> Sequence[PendingTenant]:
        """Every tenant whose revision is not the head and known to this code, in one query."""

    def claim_sql(self, tenant: TenantRef, *, from_revision: str, to_revision: str) -> str:
        """SQL that locks the tenant's record and moves it from `at` to `to`.

        It must not wait: for a record that somebody else has, or that is not at `at`, it raises
        SQLSTATE `TAKEN`.
        """


class Observer:
    """Is told how a run goes, in the thread that began it; this one says nothing."""

    def on_start(self, total: int) -> None:
        """So many tenants are behind."""

    def on_progress(self, migrated: int) -> None:
        """So many are migrated by now."""

    def on_failure(self, tenant: TenantRef, failure: MigrationFailure) -> None:
        """A tenant was skipped."""

    def on_retry(self, count: int, pause_s: float) -> None:
        """The skipped ones are tried again after a pause."""

    def on_interrupt(self) -> None:
        """Somebody pressed Ctrl-C: the tenants at work are finished first."""


@dataclass(frozen=True)
class MigrationOptions:
    """How to migrate. `canary`: so many tenants first, and no others if one of them fails."""

    workers: int = WORKERS
    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    canary: int = 0
    retry_pauses_s: tuple[float, ...] = field(default_factory=lambda: RETRY_PAUSES_S)


@dataclass
class MigrationOutcome:
    """What a run did: how many it migrated, how many are left, and why each that failed did."""

    migrated: int = 0
    remaining: int = 0
    failed: dict[TenantRef, MigrationFailure] = field(default_factory=dict)
    interrupted: bool = False
    stopped_at_canary: bool = False
    database_unavailable: bool = False


class RevisionFailed(RuntimeError):
    """The Python of a revision raised something that is not the database's."""


class MigrationRun:
    """One run over all tenants that are behind."""

    def __init__(
        self,
        store: RevisionStore,
        database: Database,
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
        """Migrate whom the ledger names; Ctrl-C ends it after the tenants at work.

        A tenant that fails is skipped and tried again in later rounds, with pauses between them.
        Raises DatabaseUnavailable if nobody could be asked who is behind.
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
        canary, others = (
            pending_tenants[: self._options.canary],
            pending_tenants[self._options.canary :],
        )
        self._migrate_with_retries(canary)
        if self._outcome.failed:
            self._outcome.stopped_at_canary = True
            return
        # Two runs that begin together meet late, when each begins somewhere else.
        start = randrange(len(others) or 1)
        self._migrate_with_retries([*others[start:], *others[:start]])

    def _migrate_with_retries(self, pending_tenants: Sequence[PendingTenant]) -> None:
        """Migrate these, in as many rounds as it takes and there are."""
        self._run_round(pending_tenants)
        for pause_s in self._options.retry_pauses_s:
            failed_tenants = self._refresh_failures()
            if not failed_tenants:
                return
            self._observer.on_retry(len(failed_tenants), pause_s)
            sleep(pause_s)
            self._run_round(failed_tenants)
        self._refresh_failures()

    def _refresh_failures(self) -> Sequence[PendingTenant]:
        """Those that failed, without whom another run has migrated meanwhile."""
        failed = self._outcome.failed
        if not failed:
            return []
        still_pending = [one for one in self._store.list_pending() if one.tenant in failed]
        self._migrated_elsewhere |= failed.keys() - {one.tenant for one in still_pending}
        self._outcome.failed = {one.tenant: failed[one.tenant] for one in still_pending}
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
        """Count what the workers do until they end.

        Not by `join`: a thread whose join is interrupted is taken for one that has ended.
        """
        for finished in self._pool.finished_events:
            while not finished.wait(_POLL_INTERVAL_S):
                self._process_results()
        self._process_results()

    def _process_results(self) -> None:
        """Ctrl-C may come between any two of these lines: a result is counted twice, or not yet."""
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
    """The workers: threads, since nearly all of the time is the server's."""

    def __init__(self, store: RevisionStore, database: Database, lock_timeout_ms: int) -> None:
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
        # Alembic's `op` is one for the process: two at once would write into each other's schema.
        self._python_lock = Lock()

    def start(self, pending_tenants: Sequence[PendingTenant], workers: int) -> None:
        """Begin to migrate these, by at most so many workers."""
        for revision in {one.revision for one in pending_tenants}:
            schema.compile_steps(revision)  # compiled before there are threads
        self._queue.extend(pending_tenants)
        for _ in range(min(workers, len(pending_tenants))):
            finished = Event()
            # Daemons: a second Ctrl-C does not wait for them; what they do is safe to cut off.
            Thread(target=self._run_worker, args=(finished,), daemon=True).start()
            self.finished_events.append(finished)

    def _run_worker(self, finished: Event) -> None:
        """One tenant after the other, until there is none or somebody says stop."""
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
        steps = schema.compile_steps(pending.revision)
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
        scripts = [_tenant_script(step, pending.tenant) for step in steps]
        session.run_script(
            connection,
            pending.tenant,
            ";\n".join([self._timeouts_sql, self._claim_sql(pending), *scripts]),
        )

    def _migrate_with_python(self, pending: PendingTenant, steps: Sequence[MigrationStep]) -> None:
        """The same transaction step by step, on a connection of its own."""
        with (
            self._python_lock,
            session.owner_session(pending.tenant, database=self._database) as db_session,
        ):
            connection = db_session.connection()
            # Python may take its time between two statements.
            timeouts_sql = (
                f"{self._timeouts_sql}; SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            db.execute_script(connection, f"{timeouts_sql}; {self._claim_sql(pending)}")
            for step in steps:
                if step.upgrade is None:
                    db.execute_script(connection, _tenant_script(step, pending.tenant))
                else:
                    _run_python_step(step, connection)

    def _claim_sql(self, pending: PendingTenant) -> str:
        return self._store.claim_sql(
            pending.tenant, from_revision=pending.revision, to_revision=self._head
        )


def _tenant_script(step: MigrationStep, tenant: TenantRef) -> str:
    return schema.render_for_tenant(
        step.script, tenant, grantees=roles.current_roles().grantees(tenant)
    )


def _run_python_step(step: MigrationStep, connection: Connection) -> None:
    """Raises RevisionFailed for what is not the database's, so that the rest can go on."""
    try:
        step.run_python(connection)
    except (*_FAILURES, DatabaseFailure):
        raise
    except Exception as error:
        raise RevisionFailed(f"revision {step.revision}") from error


def _describe_failure(error: BaseException) -> MigrationFailure:
    """The database's own name of what went wrong, and its SQLSTATE."""
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
