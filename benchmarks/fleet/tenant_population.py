"""Create thousands of tenants quickly, each with ten numbers and a key."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID, uuid4

import psycopg2

from benchmarks.postgres import BenchmarkDatabase
from vca.kit import db
from vca.kit.db import Database
from vca.registry.api_keys import service as api_keys
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

PEPPER = "a-pepper-of-the-benchmark-and-no-other"
NUMBERS = 10
_FIRST_NUMBER = 442_070_000_000
_THREADS = 2
# Tenants per connection: a server process caches the catalogue of each schema that it used.
_BATCH_SIZE = 100
_STATEMENT_TIMEOUT_S = 600
_CREATE_TENANT = """
SELECT public.create_tenant('{id}', 'Tenant {index}', 'starter', NULL);
INSERT INTO "{schema}".phone_numbers (id, tenant_id, did_number, provider_type, label, is_active,
    mode, registration_status, registration_round)
SELECT gen_random_uuid(), '{id}', '+' || ({first} + line), 'fake', 'Line ' || line, true,
    'agent', 'registered', 0
FROM generate_series(0, {last}) line;
INSERT INTO public.dids (did_number, tenant_id, state, phone_number_id, provider_type,
    registration_status)
SELECT did_number, tenant_id, 'claimed', id, provider_type, registration_status
FROM "{schema}".phone_numbers
"""


@dataclass(frozen=True)
class TenantMember:
    """A tenant and its API key."""

    id: UUID
    key: str

    @property
    def ref(self) -> TenantRef:
        """The tenant as the session entry points expect it."""
        return TenantRef(self.id)


@dataclass
class TenantPopulation:
    """The tenants of one database that were created so far."""

    postgres: BenchmarkDatabase
    members: list[TenantMember] = field(default_factory=list)

    def count(self) -> int:
        """Return the number of tenants in the database, including those created by measurements."""
        return int(str(self.postgres.execute("SELECT count(*) FROM public.tenants")[0][0]))

    def grow_to(
        self, target_count: int, ends_at: float, print_progress: Callable[[str], None]
    ) -> None:
        """Create tenants until there are `target_count`, or until `ends_at` (monotonic clock)."""
        missing = target_count - self.count()
        if missing <= 0:
            return
        first_index = len(self.members)
        batches = [
            range(first_index + offset, first_index + min(offset + _BATCH_SIZE, missing))
            for offset in range(0, missing, _BATCH_SIZE)
        ][::-1]
        failures: list[BaseException] = []
        workers = [
            threading.Thread(
                target=self._run_batches, args=(batches, ends_at, failures), daemon=True
            )
            for _ in range(_THREADS)
        ]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            workers[0].join(5)
            workers[-1].join(5)
            print_progress(f"{len(self.members)} of {first_index + missing} tenants")
        if failures:
            raise failures[0]
        self.postgres.analyze_tables()

    def _run_batches(
        self, batches: list[range], ends_at: float, failures: list[BaseException]
    ) -> None:
        try:
            with db.statement_timeout_scope(_STATEMENT_TIMEOUT_S):
                while batches and not failures and monotonic() < ends_at:
                    self.members += self._create_batch(batches.pop())
        except BaseException as error:
            failures.append(error)

    def _create_batch(self, indices: range) -> list[TenantMember]:
        ids = [(index, uuid4()) for index in indices]
        connection = psycopg2.connect(self.postgres.dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            for index, tenant_id in ids:
                cursor.execute(
                    _CREATE_TENANT.format(
                        id=tenant_id,
                        index=index,
                        schema=schema.schema_name(tenant_id),
                        first=_FIRST_NUMBER + index * NUMBERS,
                        last=NUMBERS - 1,
                    )
                )
        connection.close()
        return self._create_keys([tenant_id for _, tenant_id in ids])

    def _create_keys(self, ids: list[UUID]) -> list[TenantMember]:
        database = Database(self.postgres.dsn, pool_size=1)
        with public_session(database=database) as session:
            new_members = [
                TenantMember(tenant_id, create_key(session, tenant_id)) for tenant_id in ids
            ]
        database.close()
        return new_members


def create_key(session: object, tenant_id: UUID | None) -> str:
    """Create an API key for a tenant, or for the platform if `tenant_id` is None."""
    _, key = api_keys.create(
        session,  # type: ignore[arg-type] # is a session
        name="bench",
        pepper=PEPPER,
        tenant_id=tenant_id,
    )
    return key
