"""`Idempotency-Key`: the same key and body answer the same, and are executed once.

A plain operation keeps its answer in the transaction of what it did: both happen or neither. One
that calls out claims its key in a transaction before, and finishes it when the answer is made.
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
from vca.kit import clock, deadline, json, log
from vca.kit.db import DatabaseFailure
from vca.kit.errors import FieldError, InvalidInput
from vca.kit.web.access import Access, Repeats
from vca.kit.web.parser import check_body
from vca.registry.idempotency import service
from vca.registry.idempotency.service import Asked, Kept
from vca.tenancy import session as tenancy
from vca.tenant.idempotency.tasks import PLATFORMS, TENANTS

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_HEADERS = ("Content-Type", "Location")
_FINISH_BUDGET_S = 4.0


@dataclass(frozen=True)
class Unfinished:
    """A key that was claimed for an operation that calls out."""

    id: UUID
    access: Access


def install(app: Flask) -> None:
    """Finish what operations that call out have claimed, whatever their answer is."""
    app.after_request(_finish)


def once(session: Session, access: Access, do: Callable[[], Response]) -> Response:
    """Do a plain operation in its transaction, or answer as it was answered before."""
    asked = _asked(access)
    if asked is None:
        return do()
    found = service.claim(session, table=_table(access), asked=asked)
    if isinstance(found, Kept):
        return _again(access.repeats, found)
    response = do()
    if response.status_code < 400:
        _complete(session, access, found, response)
    return response


def begin(connection: Connection, access: Access) -> Response | None:
    """Claim the key of an operation that calls out; the answer if it was answered before."""
    asked = _asked(access)
    if asked is None:
        return None
    inside = _table(access) is TENANTS
    opened = tenancy.inside(connection, g.tenant) if inside else tenancy.outside(connection)
    with opened as session:
        found = service.claim(session, table=_table(access), asked=asked)
        service.order_sweep(session, now=clock.now())  # it may never be finished
        session.commit()
    if isinstance(found, Kept):
        return _again(access.repeats, found)
    g.unfinished = Unfinished(found, access)
    return None


def _finish(response: Response) -> Response:
    """Keep a success. A refusal did nothing, so it gives the key back.

    After a failure of ours nobody knows what was done: the key stays claimed until it is abandoned.
    """
    unfinished: Unfinished | None = g.pop("unfinished", None)
    if unfinished is None or response.status_code >= 500:
        return response
    inside = _table(unfinished.access) is TENANTS
    try:
        with (
            deadline.within(_FINISH_BUDGET_S),
            tenancy.enter(g.tenant) if inside else tenancy.public() as session,
        ):
            if response.status_code < 400:
                _complete(session, unfinished.access, unfinished.id, response)
            else:
                service.forget(session, table=_table(unfinished.access), claim_id=unfinished.id)
    except DatabaseFailure as error:
        log.get().warning("idempotency.unfinished", exc_info=error)
    return response


def _asked(access: Access) -> Asked | None:
    """The request as its key names it; None without a key, or where none is taken.

    Another tenant of the path, or another API key, is another sender.
    """
    key = request.headers.get(HEADER)
    if key is None or access.repeats == "none":
        return None
    if not _KEY.fullmatch(key):
        error = FieldError(f"/{HEADER}", "Must be 1 to 255 printable ASCII characters.", "header")
        raise InvalidInput("The request is not valid.", errors=[error])
    check_body(request)
    whole = f"{request.method} {request.path}\n".encode() + request.get_data(cache=True)
    tenant = f"/{g.tenant.id}" if "tenant" in g else ""
    return Asked(f"{g.caller.prefix}{tenant}", key, hashlib.sha256(whole).hexdigest())


def _table(access: Access) -> Table:
    """Where the operation's own transaction can write."""
    return TENANTS if "tenant" in g and access.opens != "public" else PLATFORMS


def _complete(session: Session, access: Access, claim_id: UUID, response: Response) -> None:
    answer = response.get_data(as_text=True)
    if access.repeats == "id":
        answer = json.dumps({"id": json.loads(answer)["id"]}).decode()
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    kept = Kept(response.status_code, headers, answer)
    service.complete(session, table=_table(access), claim_id=claim_id, kept=kept, now=clock.now())


def _again(repeats: Repeats, kept: Kept) -> Response:
    response = _already_made(kept) if repeats == "id" else _replay(kept)
    response.headers[REPLAYED] = "true"
    return response


def _replay(kept: Kept) -> Response:
    response = Response(kept.answer, kept.status)
    response.headers.update(kept.headers)
    return response


def _already_made(kept: Kept) -> Response:
    """A secret that is shown once is not shown again, and so it is not kept either."""
    detail = "This was created already, and what it answered is shown once: `id` is what was made."
    return problem(409, "already-created", "Conflict", detail, **json.loads(kept.answer))
