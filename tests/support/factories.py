"""Factories of tenants with keys, numbers and profiles, and clients for them."""

from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support import admin_db, pii_sentinel
from tests.support.api import Api, ApiResponse, validator_of
from tests.support.jobs import run_task
from tests.support.services import app_services
from tests.support.tenant_pool import TenantPool
from vca.jobs import queue
from vca.registry.api_keys import service as api_keys
from vca.registry.tenants import service as tenants
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

_numbers = count(442_070_000_000)
SYSTEM_PROMPT = f"You answer the telephone. {pii_sentinel.SENTINEL}"


def fresh_number() -> str:
    """Return a valid E.164 number that no test of this process has used."""
    return f"+{next(_numbers)}"


@dataclass
class Platform:
    """A platform key and its client."""

    api: Api
    key: str


@dataclass
class Tenant:
    """A tenant with a client whose key has all scopes."""

    id: str
    api: Api
    key: str

    @property
    def ref(self) -> TenantRef:
        return TenantRef(UUID(self.id))

    def url(self, path: str = "") -> str:
        return f"/api/tenants/{self.id}{path}"

    def get(self, path: str = "", **query: Any) -> ApiResponse:
        return self.api.get(self.url(path), **query)

    def post(self, path: str, body: Any = None, **options: Any) -> ApiResponse:
        return self.api.post(self.url(path), body, **options)

    def patch(self, path: str, body: Any) -> ApiResponse:
        return self.api.patch(self.url(path), body)

    def delete(self, path: str) -> ApiResponse:
        return self.api.delete(self.url(path))

    def profile(self, **fields: Any) -> dict[str, Any]:
        """Create an AI profile and return its representation."""
        return assert_created(self.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, **fields}))

    def number(self, **fields: Any) -> dict[str, Any]:
        """Create a phone number and return its representation."""
        return assert_created(self.post("/phone-numbers", {"did_number": fresh_number(), **fields}))

    def simulate(self, to: str, **fields: Any) -> dict[str, Any]:
        """Start a simulated call and return its representation."""
        return assert_created(self.post("/simulations", {"to": to, **fields}))

    def say(self, call_id: str, text: str) -> dict[str, Any]:
        """Send one turn of a simulated call and return the response."""
        response = self.post(f"/simulations/{call_id}/turns", {"text": text})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json
        return body


def assert_created(response: ApiResponse) -> dict[str, Any]:
    """Return the body of a response; fail unless its status is 201."""
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json
    return body


class Factory:
    """Creates tenants and keys in the real database, in committed transactions."""

    def __init__(self, app: Flask, tenant_pool: TenantPool | None = None) -> None:
        self.app = app
        self._tenant_pool = tenant_pool
        self._tenant_ids: list[UUID] = []

    def key(self, tenant_id: str | None, **options: Any) -> str:
        """Create a key of a tenant, or a platform key, and return it."""
        with public_session(database=app_services().database) as session:
            _, key = api_keys.create(
                session,
                name="test",
                tenant_id=UUID(tenant_id) if tenant_id else None,
                pepper=self.app.config["PEPPERS"][0],
                **options,
            )
        return key

    def api(self, key: str | None) -> Api:
        return Api(self.app, validator_of(self.app), key=key)

    def platform(self) -> Platform:
        key = self.key(None)
        return Platform(self.api(key), key)

    def tenant(
        self, name: str = "Acme", *, plan: str = "starter", external_id: str | None = None
    ) -> Tenant:
        """Return a tenant without numbers or profiles, from the pool if it has one."""
        pooled_id = None
        if self._tenant_pool:
            pooled_id = self._tenant_pool.acquire(name=name, plan=plan, external_id=external_id)
        if pooled_id:
            return self._tenant(pooled_id)
        return self.new_tenant(name, plan=plan, external_id=external_id)

    def new_tenant(self, name: str = "Acme", **fields: Any) -> Tenant:
        """Create a tenant."""
        with public_session(database=app_services().database) as session:
            tenant_id = tenants.create(session, name=name, **fields).id
        if self._tenant_pool:
            self._tenant_pool.register(tenant_id)
        return self._tenant(tenant_id)

    def _tenant(self, tenant_id: UUID) -> Tenant:
        self._tenant_ids.append(tenant_id)
        key = self.key(str(tenant_id))
        return Tenant(str(tenant_id), self.api(key), key)

    def release_tenants(self) -> None:
        """Return the tenants of this factory to the pool."""
        if self._tenant_pool:
            self._tenant_pool.release(self._tenant_ids)

    def create_in(self, session: Session, **fields: Any) -> UUID:
        """Create a tenant in the caller's transaction and return its id."""
        return tenants.create(session, **fields).id

    def sql(self, tenant: Tenant, statement: str) -> None:
        """Run a statement in the tenant's schema, bypassing the product."""
        with admin_db.tenant_session(tenant.ref) as session:
            session.execute(text(statement))

    def make_due(self, tenant: Tenant, task: str) -> None:
        """Make the tenant's waiting jobs of this task due now."""
        update = text(
            "UPDATE jobs.procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'"
            " AND task_name = :task AND args->>'tenant_id' = :tenant_id"
        )
        with admin_db.public_session() as session:
            session.execute(update, {"task": task, "tenant_id": tenant.id})

    def run_jobs(self, tenant: Tenant, *, include_scheduled: bool = False) -> list[str]:
        """Run the tenant's due jobs and the jobs they enqueue in this process; return task names.

        With `include_scheduled`, also run the jobs that are scheduled for later, once each, except
        the housekeeping jobs that every tenant has.
        """
        return _run_jobs(tenant.id, include_scheduled=include_scheduled)

    def run_platform_jobs(self, *, include_scheduled: bool = False) -> list[str]:
        """Run the jobs that deliver to the platform's webhooks; return the task names."""
        return _run_jobs(None, include_scheduled=include_scheduled)


def _run_jobs(tenant_id: str | None, *, include_scheduled: bool) -> list[str]:
    job_names: list[str] = []
    while due_jobs := _pop_due_jobs(
        tenant_id, include_scheduled=include_scheduled and not job_names
    ):
        for _, name, args in due_jobs:
            run_task(queue.TASKS[name], args)
            job_names.append(name)
    return job_names


def _pop_due_jobs(
    tenant_id: str | None, *, include_scheduled: bool
) -> list[tuple[int, str, dict[str, Any]]]:
    """Remove due jobs from the queue and return them; None: those of the platform's webhooks."""
    delete = text(
        "DELETE FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND args->>'tenant_id' IS NOT DISTINCT FROM :tenant_id"
        " AND (task_name = 'webhooks.deliver_to_operator' OR args ? 'tenant_id')"
        " AND (:ahead OR scheduled_at IS NULL OR scheduled_at <= now())"
        " AND (task_name NOT IN ('webhooks.forget', 'phone_numbers.count', 'recordings.count',"
        " 'phone_numbers.check')"
        " OR scheduled_at <= now())"
        " RETURNING id, task_name, args"
    )
    with admin_db.public_session() as session:
        rows = session.execute(delete, {"tenant_id": tenant_id, "ahead": include_scheduled})
        return sorted((row[0], row[1], row[2]) for row in rows)
