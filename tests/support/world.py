"""Builders: tenants with keys, numbers and profiles, and what the outside sees of them."""

from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.support import canary, owner
from tests.support.api import Api, openapi_of
from tests.support.shelf import Shelf
from vca.jobs import queue
from vca.registry.api_keys import service as api_keys
from vca.registry.tenants import service as tenants
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

_numbers = count(442_070_000_000)
PROMPT = f"You answer the telephone. {canary.WORD}"


def fresh_number() -> str:
    """A valid E.164 number that no test of this process has used."""
    return f"+{next(_numbers)}"


@dataclass
class Platform:
    """An operator with a platform key."""

    api: Api
    key: str


@dataclass
class Tenant:
    """A tenant with a key of all scopes."""

    id: str
    api: Api
    key: str

    @property
    def ref(self) -> TenantRef:
        return TenantRef(UUID(self.id))

    def url(self, path: str = "") -> str:
        return f"/api/tenants/{self.id}{path}"

    def get(self, path: str = "", **query: Any) -> TestResponse:
        return self.api.get(self.url(path), **query)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.api.post(self.url(path), body, **options)

    def patch(self, path: str, body: Any) -> TestResponse:
        return self.api.patch(self.url(path), body)

    def delete(self, path: str) -> TestResponse:
        return self.api.delete(self.url(path))

    def profile(self, **fields: Any) -> dict[str, Any]:
        """A new AI profile, as the API shows it."""
        return made(self.post("/ai-profiles", {"system_prompt": PROMPT, **fields}))

    def number(self, **fields: Any) -> dict[str, Any]:
        """A new phone number, as the API shows it."""
        return made(self.post("/phone-numbers", {"did_number": fresh_number(), **fields}))

    def simulate(self, to: str, **fields: Any) -> dict[str, Any]:
        """A simulated call that rings."""
        return made(self.post("/simulations", {"to": to, **fields}))

    def say(self, call_id: str, words: str) -> dict[str, Any]:
        """One turn of a simulated call."""
        response = self.post(f"/simulations/{call_id}/turns", {"text": words})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json
        return answer


def made(response: TestResponse) -> dict[str, Any]:
    """The body of a 201."""
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json
    return body


class World:
    """Makes things in the real database, committing for real."""

    def __init__(self, app: Flask, shelf: Shelf | None = None) -> None:
        self.app = app
        self._shelf = shelf
        self._made: list[UUID] = []

    def key(self, tenant_id: str | None, **options: Any) -> str:
        """A new key of a tenant, or of the platform."""
        with public_session() as session:
            _, key = api_keys.create(
                session,
                name="test",
                tenant_id=UUID(tenant_id) if tenant_id else None,
                pepper=self.app.config["PEPPERS"][0],
                **options,
            )
        return key

    def api(self, key: str | None) -> Api:
        return Api(self.app, openapi_of(self.app), key=key)

    def platform(self) -> Platform:
        key = self.key(None)
        return Platform(self.api(key), key)

    def tenant(
        self, name: str = "Acme", *, plan: str = "starter", external_id: str | None = None
    ) -> Tenant:
        """A tenant without number or profile: a new one, or one that has been made like new."""
        fields = {"name": name, "plan": plan, "external_id": external_id}
        found = self._shelf.take(**fields) if self._shelf else None
        return self._tenant(found) if found else self.new_tenant(**fields)

    def new_tenant(self, name: str = "Acme", **fields: Any) -> Tenant:
        """A tenant that has just been made."""
        with public_session() as session:
            tenant_id = tenants.create(session, name=name, **fields).id
        if self._shelf:
            self._shelf.note(tenant_id)
        return self._tenant(tenant_id)

    def _tenant(self, tenant_id: UUID) -> Tenant:
        self._made.append(tenant_id)
        key = self.key(str(tenant_id))
        return Tenant(str(tenant_id), self.api(key), key)

    def leave(self) -> None:
        """Let others use the tenants that were made here."""
        if self._shelf:
            self._shelf.put_back(self._made)

    def create_in(self, session: Session, **fields: Any) -> UUID:
        """A tenant in a transaction of the test's own."""
        return tenants.create(session, **fields).id

    def sql(self, tenant: Tenant, statement: str) -> None:
        """Change a tenant's rows behind the product's back."""
        with owner.inside(tenant.ref) as session:
            session.execute(text(statement))

    def due(self, tenant: Tenant, task: str) -> None:
        """Have the tenant's waiting jobs of that name due now."""
        sooner = text(
            "UPDATE jobs.procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'"
            " AND task_name = :task AND args->>'tenant_id' = :tenant_id"
        )
        with owner.public() as session:
            session.execute(sooner, {"task": task, "tenant_id": tenant.id})

    def work(self, tenant: Tenant, *, ahead: bool = False) -> list[str]:
        """Do the tenant's due jobs in this process, and those they enqueue; the names done.

        `ahead` also does those that are scheduled for later, once each, but for the housekeeping
        that every tenant has.
        """
        return _work(tenant.id, ahead=ahead)

    def work_for_operator(self, *, ahead: bool = False) -> list[str]:
        """The same with the jobs that send to the operator's webhooks."""
        return _work(None, ahead=ahead)


def _work(tenant_id: str | None, *, ahead: bool) -> list[str]:
    done: list[str] = []
    while due := _due(tenant_id, ahead=ahead and not done):
        for _, name, args in due:
            queue.TASKS[name](**args)
            done.append(name)
    return done


def _due(tenant_id: str | None, *, ahead: bool) -> list[tuple[int, str, dict[str, Any]]]:
    """Take the tenant's due jobs out of the queue; None: those for the operator's webhooks."""
    take = text(
        "DELETE FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND args->>'tenant_id' IS NOT DISTINCT FROM :tenant_id"
        " AND (task_name = 'webhooks.deliver_to_operator' OR args ? 'tenant_id')"
        " AND (:ahead OR scheduled_at IS NULL OR scheduled_at <= now())"
        " AND (task_name NOT IN ('webhooks.forget', 'phone_numbers.count', 'recordings.count',"
        " 'phone_numbers.check')"
        " OR scheduled_at <= now())"
        " RETURNING id, task_name, args"
    )
    with owner.public() as session:
        rows = session.execute(take, {"tenant_id": tenant_id, "ahead": ahead})
        return sorted((row[0], row[1], row[2]) for row in rows)
