"""Enforce each operation's declared access, and own the transaction of a plain operation."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any
from uuid import UUID

from flask import Flask, current_app, g, request
from sqlalchemy import Connection
from structlog.contextvars import bind_contextvars

from vca.api import audit, idempotency, limits
from vca.kit import crash, db, deadline
from vca.kit.errors import DomainError, NotFound
from vca.kit.web.access import Access, PlatformKeyNeeded, declared
from vca.registry.api_keys import service as api_keys
from vca.registry.api_keys.service import Caller
from vca.tenancy import schema
from vca.tenancy import session as tenancy
from vca.tenancy.schema import TenantRef

View = Callable[..., Any]
# What only asks the database is answered within 5 s; what calls out may wait for a model too.
PLAIN_BUDGET_S = 4.0
CALLING_OUT_BUDGET_S = 20.0
_READING = ("GET", "HEAD")


class Unauthorized(DomainError):
    """No key, or any kind of bad key: the answer is the same."""

    status = 401
    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__("A valid API key is needed: Authorization: Bearer vca_…")


class ScopeMissing(DomainError):
    """The key may not do this."""

    status = 403
    code = "scope-missing"


class TenantSuspended(DomainError):
    """A suspended tenant reads; it does not write."""

    status = 403
    code = "tenant-suspended"

    def __init__(self) -> None:
        super().__init__("The tenant is suspended: its keys can read, not write.")


def install(app: Flask) -> None:
    """Put the declared guard around every view; LookupError for one that declares none."""
    for endpoint, view in app.view_functions.items():
        if endpoint.endswith(".static"):  # files of the documentation
            continue
        access = declared(view)
        if access is None:
            raise LookupError(f"{endpoint} declares no access")
        app.view_functions[endpoint] = _guarded(view, access)


def _guarded(view: View, access: Access) -> View:
    if access.who in ("anyone", "carrier"):
        return _bounded(view)

    usual_s = CALLING_OUT_BUDGET_S if access.opens == "nothing" else PLAIN_BUDGET_S

    @wraps(view)
    def guarded(**path: Any) -> Any:
        asked = path.get("tenant_id")
        likely = schema.name(asked) if asked is not None else None
        presented = _presented()
        limits.check(presented)
        with deadline.within(usual_s), db.current().connection(schema=likely) as connection:
            _authenticate(connection, presented, asked)
            limits.charge(connection, g.caller, presented)
            _authorize(access, asked)
            if access.opens != "nothing":
                return _in_transaction(connection, access, view, path)
            repeated = idempotency.begin(connection, access)
        if repeated is not None:
            return repeated
        with deadline.within(access.budget_s or usual_s), audit.of_request(access, path):
            return view(**path)

    return guarded


def _bounded(view: View) -> View:
    @wraps(view)
    def bounded(**path: Any) -> Any:
        with deadline.within(CALLING_OUT_BUDGET_S):
            return view(**path)

    return bounded


def _in_transaction(connection: Connection, access: Access, view: View, path: Any) -> Any:
    """The edge's one commit: after the answer was made, if it is a success."""
    opened = (
        tenancy.inside(connection, g.tenant)
        if access.opens == "tenant"
        else tenancy.outside(connection)
    )
    with opened as session, audit.of_request(access, path):
        g.session = session
        response = idempotency.once(session, access, partial(audit.told, session, view, path))
        if response.status_code < 400:
            session.commit()
            crash.point("requests.committed")
        return response


def _presented() -> str:
    """The key that the request bears; empty without one."""
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else ""


def _authenticate(connection: Connection, presented: str, tenant_id: UUID | None) -> None:
    caller = api_keys.recognise(
        connection,
        presented=presented,
        peppers=current_app.config["PEPPERS"],
        asked=tenant_id,
    )
    if caller is None:
        limits.bad_key(connection)
        raise Unauthorized
    g.caller = caller
    bind_contextvars(key=caller.prefix)
    if tenant_id is not None:
        g.tenant = TenantRef(tenant_id)
        bind_contextvars(tenant_id=str(tenant_id))


def _authorize(access: Access, tenant_id: UUID | None) -> None:
    """Raises NotFound before anything else, so that no answer tells whether a tenant exists."""
    caller: Caller = g.caller
    if tenant_id is not None:
        _check_tenant(access, caller, tenant_id)
    if access.who == "platform" and not caller.is_platform:
        raise PlatformKeyNeeded
    for scope in (access.scope, access.also):
        if scope is not None and scope not in caller.scopes:
            raise ScopeMissing(f"The key has no scope {scope}.")
    if _suspended_write(access, caller):
        raise TenantSuspended
    if tenant_id is not None and access.needs_schema:
        assert caller.path_tenant_revision is not None
        schema.require_supported(caller.path_tenant_revision)


def _check_tenant(access: Access, caller: Caller, tenant_id: UUID) -> None:
    if caller.is_platform:
        status = caller.path_tenant_status
        if status is None or (status == "deleted" and not access.when_deleted):
            raise NotFound
    elif caller.tenant_id != tenant_id:
        raise NotFound


def _suspended_write(access: Access, caller: Caller) -> bool:
    return (
        not caller.is_platform
        and caller.path_tenant_status == "suspended"
        and access.writes
        and request.method not in _READING
        and not access.when_suspended
    )
