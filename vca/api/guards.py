"""Enforce each operation's declared access, and own the transaction of a plain operation.

A request with a body is authenticated and authorised first, with a connection that is returned.
Then its body is received and parsed. Only then does the operation use a connection.
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from time import monotonic
from typing import Any
from uuid import UUID

from flask import Flask, current_app, g, request
from sqlalchemy import Connection
from structlog.contextvars import bind_contextvars

from vca.api import admission, audit, idempotency, limits
from vca.kit import deadline, failpoints
from vca.kit.errors import DomainError, NotFound
from vca.kit.web import Blueprint, request_body
from vca.kit.web.access import Access, PlatformKeyNeeded, ScopeMissing, declared_access
from vca.kit.web.parser import ArgumentSchema, declared_arguments
from vca.registry.api_keys import service as api_keys
from vca.registry.api_keys.service import AuthenticatedKey
from vca.registry.rate_limits.buckets import TokenRequests
from vca.registry.rate_limits.token_cache import AcquiredTokens
from vca.services import current_services
from vca.tenancy import schema
from vca.tenancy import session as tenancy
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import TenantReader

View = Callable[..., Any]
# An operation that only uses the database responds within 5 s. One that calls out may also wait
# for a model, and for the database before and after it.
PLAIN_BUDGET_S = 4.0
CALLING_OUT_BUDGET_S = 20.0
_MARGIN_S = 10.0
# A key and its tenant are also checked again if longer than this has passed since then: parsing the
# body and the wait for a connection take time, too.
CHECK_AGAIN_AFTER_S = 0.1
_READ_METHODS = ("GET", "HEAD")


class Unauthorized(DomainError):
    """The API key is missing or invalid. The response is the same for every reason."""

    status = 401
    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__("A valid API key is required: Authorization: Bearer vca_…")


class TenantSuspended(DomainError):
    """A suspended tenant can read but not write."""

    status = 403
    code = "tenant-suspended"

    def __init__(self) -> None:
        super().__init__("The tenant is suspended. Its API keys can read but not write.")


def install(app: Flask, *, model_timeout_s: float) -> None:
    """Put the declared guard around every view. Raises LookupError if a view declares none.

    `model_timeout_s` is the maximum duration of a model's answer.
    """
    long_budget_s = calling_out_budget_s(model_timeout_s)
    for endpoint, view in app.view_functions.items():
        if endpoint.endswith(".static"):  # files of the documentation page
            continue
        access = declared_access(view)
        if access is None:
            raise LookupError(f"{endpoint} declares no access")
        app.view_functions[endpoint] = _with_guard(view, access, long_budget_s)


def calling_out_budget_s(model_timeout_s: float) -> float:
    """Return the budget of an operation that may wait for a model."""
    return max(CALLING_OUT_BUDGET_S, model_timeout_s + _MARGIN_S)


def _with_guard(view: View, access: Access, long_budget_s: float = CALLING_OUT_BUDGET_S) -> View:
    if access.audience in ("anyone", "carrier"):
        return _with_deadline(view, long_budget_s)

    default_budget_s = long_budget_s if access.transaction == "nothing" else PLAIN_BUDGET_S
    arguments = declared_arguments(view)
    reads_body = access.idempotency != "none" or any(
        argument.location == "json" for argument in arguments
    )

    @wraps(view)
    def guarded(**path: Any) -> Any:
        tenant_id: UUID | None = path.get("tenant_id")
        database, token = current_services().database, _bearer_token()
        check = _admit
        limits.check_key(token)
        if reads_body and request_body.has_body(request):
            with (
                deadline.within(PLAIN_BUDGET_S),
                database.connection() as connection,
            ):
                _admit(connection, access, token, tenant_id)
            _receive_arguments(arguments)
            check = _check_again
        with (
            deadline.within(default_budget_s),
            database.connection() as connection,
        ):
            check(connection, access, token, tenant_id)
            if access.transaction == "tenant_read":
                g.reader = TenantReader(connection, g.tenant, database.roles)
                return view(**path)
            if access.transaction != "nothing":
                return _in_transaction(connection, access, view, path)
            stored_response = idempotency.claim_key(connection, access)
        if stored_response is not None:
            return stored_response
        with deadline.within(access.budget_s or default_budget_s):
            return _without_transaction(access, view, path)

    return guarded


def _admit(connection: Connection, access: Access, token: str, tenant_id: UUID | None) -> None:
    """Authenticate, count and authorise a request."""
    acquired = _authenticate(connection, token, tenant_id, limits.plan_requests(token))
    limits.consume(connection, g.caller, token, acquired)
    _authorize(access, tenant_id)


def _receive_arguments(arguments: Sequence[ArgumentSchema]) -> None:
    """Receive the body of an admitted request and parse its arguments; hold no connection."""
    g.admitted_at = monotonic()
    g.waited_for_body = admission.read_key_body()
    Blueprint.ARGUMENTS_PARSER.parse_ahead(arguments)


def _check_again(
    connection: Connection, access: Access, token: str, tenant_id: UUID | None
) -> None:
    """Check the key and the tenant again, which may have changed while the body arrived.

    Skip this if the whole body had arrived before the key was checked, and that was just now.
    """
    if g.waited_for_body or monotonic() - g.admitted_at > CHECK_AGAIN_AFTER_S:
        _authenticate(connection, token, tenant_id)
        _authorize(access, tenant_id)


def _without_transaction(access: Access, view: View, path: Any) -> Any:
    """Run an operation that opens its own transactions; admit it if it calls out."""
    with audit.request_audit_scope(access, path):
        if not access.needs_place:
            g.calling_out = admission.calling_out
            return view(**path)
        with admission.calling_out() as hold_while_streamed:
            return hold_while_streamed(current_app.make_response(view(**path)))


def _with_deadline(view: View, budget_s: float) -> View:
    @wraps(view)
    def bounded(**path: Any) -> Any:
        with deadline.within(budget_s):
            return view(**path)

    return bounded


def _in_transaction(connection: Connection, access: Access, view: View, path: Any) -> Any:
    """Run a plain operation in a transaction, and commit if the response is a success.

    This is the API layer's one commit. It happens after the response was created.
    """
    session_scope = (
        tenancy.open_tenant(connection, g.tenant, database=current_services().database)
        if access.transaction == "tenant"
        else tenancy.open_public(connection)
    )
    with session_scope as session, audit.request_audit_scope(access, path):
        g.session = session
        response = idempotency.run_once(
            session, access, partial(audit.execute_audited, session, view, path)
        )
        if response.status_code < 400:
            session.commit()
            failpoints.kill_if_armed("requests.committed")
        return response


def _bearer_token() -> str:
    """Return the request's API key, or an empty string."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _authenticate(
    connection: Connection, token: str, tenant_id: UUID | None, requests: TokenRequests = ()
) -> AcquiredTokens | None:
    """Authenticate the request, and acquire the requested tokens if its key is valid."""
    caller, acquired = api_keys.authenticate_and_acquire(
        connection,
        presented=token,
        peppers=current_app.config["PEPPERS"],
        path_tenant_id=tenant_id,
        requests=requests,
    )
    if caller is None:
        limits.record_auth_failure(connection)
        raise Unauthorized
    g.caller = caller
    bind_contextvars(key=caller.prefix)
    if tenant_id is not None:
        g.tenant = TenantRef(tenant_id)
        bind_contextvars(tenant_id=str(tenant_id))
    return acquired


def _authorize(access: Access, tenant_id: UUID | None) -> None:
    """Check the caller's access.

    Raises NotFound before anything else, so that no response reveals whether a tenant exists.
    """
    caller: AuthenticatedKey = g.caller
    if tenant_id is not None:
        _check_tenant(access, caller, tenant_id)
    if access.audience == "platform" and not caller.is_platform:
        raise PlatformKeyNeeded
    for scope in (access.scope, access.additional_scope):
        if scope is not None and scope not in caller.scopes:
            raise ScopeMissing(scope)
    if _is_suspended_write(access, caller):
        raise TenantSuspended
    if tenant_id is not None and access.needs_schema:
        assert caller.path_tenant_revision is not None
        schema.require_supported_revision(caller.path_tenant_revision)


def _check_tenant(access: Access, caller: AuthenticatedKey, tenant_id: UUID) -> None:
    if caller.is_platform:
        status = caller.path_tenant_status
        if status is None or (status == "deleted" and not access.when_deleted):
            raise NotFound
    elif caller.tenant_id != tenant_id:
        raise NotFound


def _is_suspended_write(access: Access, caller: AuthenticatedKey) -> bool:
    return (
        not caller.is_platform
        and caller.path_tenant_status == "suspended"
        and access.writes
        and request.method not in _READ_METHODS
        and not access.when_suspended
    )
