"""The baseline: Flask and psycopg2, doing by hand what VCA does in two of its operations.

It is written as a careful engineer would write only these two: the same checks, the same SQL on the
same schemas, the same responses, headers and log line. What the benchmark never reaches is left
out: filters and further pages of the list, and greetings in other languages than English.
"""

import hmac
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg2.extras
from flask import Flask, Response, g, request
from psycopg2.pool import ThreadedConnectionPool
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound, Unauthorized

from benchmarks.apps import by_hand_sql as sql
from benchmarks.apps.by_hand_calls import (
    handle_ring,
    parse_ring,
    reply_body,
    sign_state,
    verify_signature,
)

_PEPPERS = [pepper.encode() for pepper in os.environ["API_KEY_PEPPERS"].split(",")]
_ROLE_PREFIX = os.environ["TENANT_ROLE_PREFIX"]
_API_KEY = re.compile(r"vca_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
}
_OPTIONS = (
    "-c timezone=UTC -c statement_timeout=3000 -c lock_timeout=2000"
    " -c idle_in_transaction_session_timeout=15000"
)
_NO_HASH = bytes(32)

psycopg2.extras.register_default_jsonb(loads=orjson.loads, globally=True)
_pool = ThreadedConnectionPool(10, 10, os.environ["DATABASE_URL"], options=_OPTIONS)
app = Flask("by_hand", static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = 256 * 1024


@contextmanager
def _cursor() -> Iterator[Any]:
    """Open a cursor on a pooled connection in autocommit mode.

    If the block raises inside a transaction, the transaction is rolled back.
    """
    connection = _pool.getconn()
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            try:
                yield cursor
            except BaseException:
                if connection.info.transaction_status:
                    cursor.execute("ROLLBACK")
                raise
    finally:
        _pool.putconn(connection, close=connection.closed)


@app.before_request
def _start_request() -> None:
    g.began = perf_counter()
    request_id = request.headers.get("X-Request-Id", "")
    g.request_id = request_id if _REQUEST_ID.fullmatch(request_id) else uuid4().hex
    g.logged = {}


@app.after_request
def _finish_request(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    line = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "ms": round((perf_counter() - g.began) * 1000, 1),
        "event": "request",
        **g.logged,
        "request_id": g.request_id,
        "level": "info",
        "timestamp": datetime.now(UTC),
    }
    sys.stdout.write(orjson.dumps(line, option=orjson.OPT_UTC_Z).decode() + "\n")
    sys.stdout.flush()
    return response


@app.errorhandler(HTTPException)
def _problem_response(error: HTTPException) -> Response:
    problem = {"type": "about:blank", "title": error.name, "status": error.code}
    return Response(
        orjson.dumps({**problem, "detail": error.description, "request_id": g.request_id}),
        error.code,
        mimetype="application/problem+json",
    )


def _json_response(value: Any) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), content_type="application/json")


@app.get("/api/tenants/<uuid:tenant_id>/phone-numbers")
def list_numbers(tenant_id: UUID) -> Response:
    """List a tenant's phone numbers, oldest first."""
    limit = _page_limit()
    with _cursor() as cursor:
        _authorize(cursor, str(tenant_id), scope="read")
        cursor.execute(sql.open_tenant_sql(str(tenant_id), tenant_id.hex, _ROLE_PREFIX))
        cursor.execute(sql.LIST_NUMBERS, (limit + 1,))
        rows = cursor.fetchall()
        cursor.execute("COMMIT")
    return _json_response([_phone_number_body(row) for row in rows[:limit]])


def _page_limit() -> int:
    value = request.args.get("limit")
    if value is None:
        return 25
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:4]) <= 100):
        raise BadRequest("limit is not a whole number from 1 to 100")
    return int(value)


def _authorize(cursor: Any, tenant_id: str, *, scope: str) -> None:
    """Accept the tenant's own key or a platform key; raise an HTTP error for any other."""
    key_tenant_id, scopes, path_status = _authenticate(cursor, tenant_id)
    if key_tenant_id is None:
        if path_status in (None, "deleted"):
            raise NotFound
    elif key_tenant_id != tenant_id:
        raise NotFound
    if scope not in scopes:
        raise Forbidden(f"The key has no scope {scope}.")
    g.logged["tenant_id"] = tenant_id


def _authenticate(cursor: Any, tenant_id: str) -> tuple[str | None, list[str], str | None]:
    """Return the key's tenant (None: the platform), its scopes and the path tenant's status."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _API_KEY.fullmatch(key):
        raise Unauthorized
    cursor.execute(sql.SELECT_KEY, {"asked": tenant_id, "prefix": key[:12]})
    row = cursor.fetchone()
    hashes = [hmac.digest(pepper, key.encode(), "sha256") for pepper in _PEPPERS]
    stored = _NO_HASH if row is None else bytes(row[4])
    hash_matches = [hmac.compare_digest(candidate, stored) for candidate in hashes]
    if row is None or not any(hash_matches):
        raise Unauthorized
    (
        key_id,
        prefix,
        _,
        key_tenant_id,
        _,
        scopes,
        _,
        _,
        valid,
        stale,
        key_tenant_status,
        path_status,
        _,
    ) = row
    if not valid or key_tenant_status == "deleted":
        raise Unauthorized
    if stale or not hash_matches[0]:
        cursor.execute(sql.RECORD_KEY_USE, {"hash": hashes[0], "id": key_id})
    g.logged["key"] = prefix
    return key_tenant_id, scopes, path_status


def _phone_number_body(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "provider_type": row[2],
        "telephony_account_id": row[20],
        "previous_carrier": row[21],
        "label": row[3],
        "is_active": row[4],
        "mode": row[5],
        "forward_to": row[6],
        "ai_profile_id": row[7],
        "hours": row[8],
        "fallback_number": row[9],
        "decision_url": row[19],
        "id": row[0],
        "tenant_id": row[18],
        "did_number": row[1],
        "registration": {
            "status": row[10],
            "code": row[11],
            "detail": row[12],
            "checked_at": row[13],
            "next_attempt_at": row[14],
        },
        "created_at": row[16],
        "updated_at": row[17],
    }


@app.post("/telephony/fake/voice")
def voice() -> Response:
    """Record an inbound call and return the actions that start it."""
    body = request.get_data()
    ring = parse_ring(body)
    verify_signature(body)
    now = datetime.now(UTC)
    with _cursor() as cursor:
        cursor.execute(sql.FIND_NUMBER_OWNER, (ring["to"],))
        owner = cursor.fetchone()
        if owner is None or owner[1] == "deleted" or owner[3] == "assigned":
            return _json_response(reply_body([{"type": "reject", "reason": "rejected"}]))
        tenant_id = owner[0]
        cursor.execute(sql.open_tenant_sql(tenant_id, tenant_id.replace("-", ""), _ROLE_PREFIX))
        call_id, actions, continues = handle_ring(cursor, ring, owner, now)
        cursor.execute("COMMIT")
    state = sign_state(tenant_id, call_id) if continues else None
    return _json_response(reply_body(actions, state))
