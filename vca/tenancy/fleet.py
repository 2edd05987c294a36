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
from vca.tenancy.schema import Step, TenantRef
from vca.tenancy.session import IsolationError

# What the ledger's `take` raises: 2201E is the logarithm of zero.
TAKEN = "2201E"
LOCK_TIMEOUT_MS = 500
WORKERS = 4
PAUSES_S = (0.5, 1.0, 2.0)
_LONGEST_S = 600.0
_LOOK_EVERY_S = 0.1
# A server process keeps the catalogue of each schema that it touched.
_TENANTS_PER_CONNECTION = 200


@dataclass(frozen=True)
class Behind:
    """A tenant, and the revision that its schema is at."""

    tenant: TenantRef
    revision: str


@dataclass(frozen=True)
class Failure:
    """Why a tenant could not be migrated, without SQL and without the values of rows."""

    reason: str
    sqlstate: str | None = None
    message: str | None = None

    def __str__(self) -> str:
        named = f"{self.sqlstate} {self.reason}" if self.sqlstate else self.reason
        return f"{named}: {self.message}" if self.message else named


IN_USE = Failure("InUseElsewhere")
_FAILURES = (psycopg2.Error, DBAPIError, IsolationError)


class Ledger(Protocol):
    """Where it is written which tenant is at which revision."""

    def behind(self) -> Sequence[Behind]:
        """Every tenant whose revision is not the head and known to this code, in one query."""

    def take(self, tenant: TenantRef, *, at: str, to: str) -> str:
        """SQL that locks the tenant's record and moves it from `at` to `to`.

        It must not wait: for a record that somebody else has, or that is not at `at`, it raises
        SQLSTATE `TAKEN`.
        """


class Observer:
    """Is told how a run goes, in the thread that began it; this one says nothing."""

    def began(self, total: int) -> None:
        """So many tenants are behind."""

    def advanced(self, done: int) -> None:
        """So many are migrated by now."""

    def failed(self, tenant: TenantRef, failure: Failure) -> None:
        """A tenant was skipped."""

    def retrying(self, count: int, pause_s: float) -> None:
        """The skipped ones are tried again after a pause."""

    def stopping(self) -> None:
        """Somebody pressed Ctrl-C: the tenants at work are finished first."""


@dataclass(frozen=True)
class Options:
    """How to migrate. `canary`: so many tenants first, and no others if one of them fails."""

    workers: int = WORKERS
    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    canary: int = 0
    pauses_s: tuple[float, ...] = field(default_factory=lambda: PAUSES_S)


@dataclass
class Outcome:
    """What a run did: how many it migrated, how many are left, and why each that failed did."""

    migrated: int = 0
    left: int = 0
    failed: dict[TenantRef, Failure] = field(default_factory=dict)
    interrupted: bool = False
    stopped_at_canary: bool = False
    database_away: bool = False


class RevisionFailed(RuntimeError):
    """The Python of a revision raised something that is not the database's."""


class Fleet:
    """One run over all tenants that are behind."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        options: Options | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._ledger = ledger
        self._options = options or Options()
        self._observer = observer or Observer()
        self._outcome = Outcome()
        self._done: set[TenantRef] = set()
        self._elsewhere: set[TenantRef] = set()
        self._total = self._counted = 0
        self._crew = Crew(ledger, database, self._options.lock_timeout_ms)

    def migrate(self) -> Outcome:
        """Migrate whom the ledger names; Ctrl-C ends it after the tenants at work.

        A tenant that fails is skipped and tried again in later rounds, with pauses between them.
        Raises DatabaseUnavailable if nobody could be asked who is behind.
        """
        found = self._ledger.behind()
        self._total = self._outcome.left = len(found)
        self._observer.began(len(found))
        try:
            self._migrate(found)
        except KeyboardInterrupt:
            self._outcome.interrupted = True
        except DatabaseUnavailable:
            self._outcome.database_away = True
        return self._outcome

    def _migrate(self, found: Sequence[Behind]) -> None:
        canary, rest = found[: self._options.canary], found[self._options.canary :]
        self._settle(canary)
        if self._outcome.failed:
            self._outcome.stopped_at_canary = True
            return
        # Two runs that begin together meet late, when each begins somewhere else.
        first = randrange(len(rest) or 1)
        self._settle([*rest[first:], *rest[:first]])

    def _settle(self, work: Sequence[Behind]) -> None:
        """Migrate these, in as many rounds as it takes and there are."""
        self._round(work)
        for pause_s in self._options.pauses_s:
            again = self._still_behind()
            if not again:
                return
            self._observer.retrying(len(again), pause_s)
            sleep(pause_s)
            self._round(again)
        self._still_behind()

    def _still_behind(self) -> Sequence[Behind]:
        """Those that failed, without whom another run has migrated meanwhile."""
        failed = self._outcome.failed
        if not failed:
            return []
        found = [one for one in self._ledger.behind() if one.tenant in failed]
        self._elsewhere |= failed.keys() - {one.tenant for one in found}
        self._outcome.failed = {one.tenant: failed[one.tenant] for one in found}
        self._sum_up()
        return found

    def _round(self, work: Sequence[Behind]) -> None:
        try:
            self._crew.start(work, self._options.workers)
            self._watch()
        except KeyboardInterrupt:
            self._crew.stop.set()
            self._observer.stopping()
            self._watch()
            raise
        if self._crew.away is not None:
            raise self._crew.away

    def _watch(self) -> None:
        """Count what the workers do until they end.

        Not by `join`: a thread whose join is interrupted is taken for one that has ended.
        """
        for ended in self._crew.ended:
            while not ended.wait(_LOOK_EVERY_S):
                self._count()
        self._count()

    def _count(self) -> None:
        """Ctrl-C may come between any two of these lines: a result is counted twice, or not yet."""
        while self._counted < len(self._crew.results):
            tenant, failure = self._crew.results[self._counted]
            if failure is None:
                self._done.add(tenant)
                self._outcome.failed.pop(tenant, None)
            else:
                self._outcome.failed[tenant] = failure
                if failure is not IN_USE:
                    self._observer.failed(tenant, failure)
            self._counted += 1
        self._sum_up()
        self._observer.advanced(self._outcome.migrated)

    def _sum_up(self) -> None:
        self._outcome.migrated = len(self._done)
        self._outcome.left = self._total - len(self._done | self._elsewhere)


class Crew:
    """The workers: threads, since nearly all of the time is the server's."""

    def __init__(self, ledger: Ledger, database: Database, lock_timeout_ms: int) -> None:
        self.stop = Event()
        self.ended: list[Event] = []
        self.results: list[tuple[TenantRef, Failure | None]] = []
        self.away: DatabaseUnavailable | None = None
        self._ledger = ledger
        self._database = database
        self._limits = (
            f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {lock_timeout_ms}"
        )
        self._work: deque[Behind] = deque()
        self._head = schema.head()
        # Alembic's `op` is one for the process: two at once would write into each other's schema.
        self._python = Lock()

    def start(self, work: Sequence[Behind], workers: int) -> None:
        """Begin to migrate these, by at most so many workers."""
        for revision in {one.revision for one in work}:
            schema.steps(revision)  # compiled before there are threads
        self._work.extend(work)
        for _ in range(min(workers, len(work))):
            ended = Event()
            # Daemons: a second Ctrl-C does not wait for them; what they do is safe to cut off.
            Thread(target=self._run, args=(ended,), daemon=True).start()
            self.ended.append(ended)

    def _run(self, ended: Event) -> None:
        """One tenant after the other, until there is none or somebody says stop."""
        try:
            with db.patience(_LONGEST_S):
                while self._work and not self.stop.is_set():
                    with self._database.connection() as connection:
                        self._run_on(connection)
        except DatabaseUnavailable as error:
            self.away = error
            self.stop.set()
        finally:
            ended.set()

    def _run_on(self, connection: Connection) -> None:
        for _ in range(_TENANTS_PER_CONNECTION):
            try:
                one = self._work.popleft()
            except IndexError:
                return
            self.results.append((one.tenant, self._outcome_of(one, connection)))
            if connection.connection.closed:
                connection.invalidate()
                return
            if self.stop.is_set():
                return

    def _outcome_of(self, one: Behind, connection: Connection) -> Failure | None:
        steps = schema.steps(one.revision)
        try:
            if any(step.upgrade for step in steps):
                self._migrate_with_python(one, steps)
            else:
                self._migrate(one, steps, connection)
        except (*_FAILURES, RevisionFailed) as error:
            return _failure(error)
        except DatabaseBusy as error:
            return _failure(error.__cause__ or error)
        return None

    def _migrate(self, one: Behind, steps: Sequence[Step], connection: Connection) -> None:
        scripts = [_script(step, one.tenant) for step in steps]
        session.replay(
            connection, one.tenant, ";\n".join([self._limits, self._take(one), *scripts])
        )

    def _migrate_with_python(self, one: Behind, steps: Sequence[Step]) -> None:
        """The same transaction step by step, on a connection of its own."""
        with self._python, session.as_owner(one.tenant, database=self._database) as opened:
            connection = opened.connection()
            # Python may take its time between two statements.
            patient = f"{self._limits}; SET LOCAL idle_in_transaction_session_timeout = 0"
            db.run_string(connection, f"{patient}; {self._take(one)}")
            for step in steps:
                if step.upgrade is None:
                    db.run_string(connection, _script(step, one.tenant))
                else:
                    _run_python(step, connection)

    def _take(self, one: Behind) -> str:
        return self._ledger.take(one.tenant, at=one.revision, to=self._head)


def _script(step: Step, tenant: TenantRef) -> str:
    return schema.filled_in(step.script, tenant, grantees=roles.current().grantees(tenant))


def _run_python(step: Step, connection: Connection) -> None:
    """Raises RevisionFailed for what is not the database's, so that the rest can go on."""
    try:
        step.run(connection)
    except (*_FAILURES, DatabaseFailure):
        raise
    except Exception as error:
        raise RevisionFailed(f"revision {step.revision}") from error


def _failure(error: BaseException) -> Failure:
    """The database's own name of what went wrong, and its SQLSTATE."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, RevisionFailed):
        cause = error.__cause__
    if cause is None or not postgres_errors.is_driver_error(cause):
        return Failure(type(cause).__name__)
    sqlstate = postgres_errors.sqlstate(cause)
    message = postgres_errors.message_without_values(cause)
    return IN_USE if sqlstate == TAKEN else Failure(type(cause).__name__, sqlstate, message)
