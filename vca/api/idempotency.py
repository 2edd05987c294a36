"""`Idempotency-Key`: a repeated key and body returns the first response and is executed once.

A plain operation stores its response in the transaction of its changes: both happen or neither. An
operation that calls out claims its key in an earlier transaction, and completes the claim when the
response is made.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from flask import Flask, Response, g, request
from sqlalchemy import Connection, Table
from sqlalchemy.orm import Session

from vca.api.errors import problem
from vca.kit import clock, deadline, json
from vca.kit.db import DatabaseFailure
from vca.kit.errors import FieldError, InvalidInput
from vca.kit.web.access import Access, Idempotency
from vca.kit.web.parser import check_body
from vca.observability import log
from vca.registry.idempotency import service
from vca.registry.idempotency.models import PLATFORM_TABLE
from vca.registry.idempotency.service import IdempotentRequest, StoredResponse
from vca.services import current_services
from vca.tenancy import session as tenancy
from vca.tenant.idempotency.models import TENANT_TABLE

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_STORED_HEADERS = ("Content-Type", "Location", "X-Vca-Warning")
_FINISH_BUDGET_S = 4.0


@dataclass(frozen=True)
class PendingClaim:
    """A key that was claimed for an operation that calls out."""

    id: UUID
    access: Access


def install(app: Flask) -> None:
    """Complete the claims of operations that call out, whatever their response is."""
    app.after_request(_finish)


def run_once(session: Session, access: Access, execute: Callable[[], Response]) -> Response:
    """Run a plain operation in its transaction, or return its stored response."""
    idempotent_request = _idempotent_request(access)
    if idempotent_request is None:
        return execute()
    claim = service.claim(session, table=_table(access), request=idempotent_request)
    if isinstance(claim, StoredResponse):
        return _replay_or_conflict(access.idempotency, claim)
    response = execute()
    if response.status_code < 400:
        _store_response(session, access, claim, response)
    return response


def claim_key(connection: Connection, access: Access) -> Response | None:
    """Claim the key of an operation that calls out, or return its stored response."""
    idempotent_request = _idempotent_request(access)
    if idempotent_request is None:
        return None
    is_tenant_table = _table(access) is TENANT_TABLE
    session_scope = (
        tenancy.open_tenant(connection, g.tenant, database=current_services().database)
        if is_tenant_table
        else tenancy.open_public(connection)
    )
    with session_scope as session:
        claim = service.claim(session, table=_table(access), request=idempotent_request)
        service.schedule_cleanup(session, now=clock.now())  # the claim may never be completed
        session.commit()
    if isinstance(claim, StoredResponse):
        return _replay_or_conflict(access.idempotency, claim)
    g.unfinished = PendingClaim(claim, access)
    return None


def _finish(response: Response) -> Response:
    """Store a success, or release the key after an error of the client, which changed nothing.

    After a server error it is unknown what was done, so the key stays claimed until the claim
    counts as abandoned.
    """
    pending_claim: PendingClaim | None = g.pop("unfinished", None)
    if pending_claim is None or response.status_code >= 500:
        return response
    is_tenant_table = _table(pending_claim.access) is TENANT_TABLE
    try:
        with (
            deadline.within(_FINISH_BUDGET_S),
            tenancy.tenant_session(g.tenant, database=current_services().database)
            if is_tenant_table
            else tenancy.public_session(database=current_services().database) as session,
        ):
            if response.status_code < 400:
                _store_response(session, pending_claim.access, pending_claim.id, response)
            else:
                service.release(
                    session, table=_table(pending_claim.access), claim_id=pending_claim.id
                )
    except DatabaseFailure as error:
        log.get_logger().warning("idempotency.unfinished", exc_info=error)
    return response


def _idempotent_request(access: Access) -> IdempotentRequest | None:
    """Return the request's identity; None without a key, or if the operation takes none.

    The same key with another tenant in the path, or of another API key, is a separate request.
    """
    key = request.headers.get(KEY_HEADER)
    if key is None or access.idempotency == "none":
        return None
    if not _KEY.fullmatch(key):
        error = FieldError(
            f"/{KEY_HEADER}", "Must be 1 to 255 printable ASCII characters.", "header"
        )
        raise InvalidInput("The request is not valid.", errors=[error])
    check_body(request)
    fingerprint_input = f"{request.method} {request.path}\n".encode() + request.get_data(cache=True)
    tenant_suffix = f"/{g.tenant.id}" if "tenant" in g else ""
    return IdempotentRequest(
        f"{g.caller.prefix}{tenant_suffix}", key, hashlib.sha256(fingerprint_input).hexdigest()
    )


def _table(access: Access) -> Table:
    """Return the table that the operation's own transaction can write to."""
    return TENANT_TABLE if "tenant" in g and access.transaction != "public" else PLATFORM_TABLE


def _store_response(session: Session, access: Access, claim_id: UUID, response: Response) -> None:
    body = response.get_data(as_text=True)
    if access.idempotency == "id":
        body = json.dumps({"id": json.loads(body)["id"]}).decode()
    headers = {name: response.headers[name] for name in _STORED_HEADERS if name in response.headers}
    stored_response = StoredResponse(response.status_code, headers, body)
    service.complete(
        session, table=_table(access), claim_id=claim_id, response=stored_response, now=clock.now()
    )


def _replay_or_conflict(mode: Idempotency, stored_response: StoredResponse) -> Response:
    response = _already_created(stored_response) if mode == "id" else _replay(stored_response)
    response.headers[REPLAYED_HEADER] = "true"
    return response


def _replay(stored_response: StoredResponse) -> Response:
    response = Response(stored_response.answer, stored_response.status)
    response.headers.update(stored_response.headers)
    return response


def _already_created(stored_response: StoredResponse) -> Response:
    """Return an error. A secret that is shown once is not shown again, so it is not stored."""
    detail = "The resource was already created, see `id`. Its secret is shown only once."
    return problem(409, "already-created", "Conflict", detail, **json.loads(stored_response.answer))
