"""The floor: Flask and psycopg2, doing by hand what VCA does for two of its operations.

Written as a careful engineer would who has only these two to write: the same checks, the same SQL
on the same schemas, the same answers, headers and log line. What the benchmark never reaches is
left out: filters and further pages of the list, greetings in other languages than English.
"""

import hashlib
import hmac
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg2.extras
from flask import Flask, Response, g, request
from itsdangerous import URLSafeSerializer
from psycopg2.pool import ThreadedConnectionPool
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound, Unauthorized

from benchmarks.apps import by_hand_sql as sql

_SECRET = os.environ["SECRET_KEY"]
_PEPPERS = [pepper.encode() for pepper in os.environ["API_KEY_PEPPERS"].split(",")]
_BASE_URL = os.environ["PUBLIC_BASE_URL"]
_ROLE_PREFIX = os.environ["TENANT_ROLE_PREFIX"]
_CARRIER_SECRET = f"fake-carrier|{_SECRET}".encode()
_VOICE_URL = f"{_BASE_URL}/telephony/fake/voice".encode()
_CALLBACK_URL = f"{_BASE_URL}/telephony/fake/"
_KEY = re.compile(r"vca_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_OFFERS = {
    "receptionist": "How may I help you?",
    "sales": "What are you looking for?",
    "support": "What can I help you with?",
    "dispatcher": "What has happened, and where are you?",
    "custom": "How can I help you?",
}
_POSITIONS = {"RINGING": 1, "ANSWERED": 2, "FAILED": 4, "ENDED": 5}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_OPTIONS = (
    "-c timezone=UTC -c statement_timeout=3000 -c lock_timeout=2000"
    " -c idle_in_transaction_session_timeout=15000"
)
_NO_HASH = bytes(32)
# Where the columns of `sql.ANSWERING` are that come after the profile's.
_HOURS, _LIMITS, _KNOWN = 15, 16, 22
_LINES = {"starter": 2, "growth": 20, "custom": 20}
_TOLD_FOR, _A_DAY = timedelta(days=5), timedelta(days=1)
_SILENCE = timedelta(seconds=120)

psycopg2.extras.register_default_jsonb(loads=orjson.loads, globally=True)
_state = URLSafeSerializer(
    _SECRET,
    salt="call",
    signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
)
_pool = ThreadedConnectionPool(10, 10, os.environ["DATABASE_URL"], options=_OPTIONS)
app = Flask("by_hand", static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = 256 * 1024


@contextmanager
def _cursor() -> Iterator[Any]:
    """A pooled connection in autocommit; a transaction that is open when the block raises ends."""
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
def _begin() -> None:
    g.began = perf_counter()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
    g.logged = {}


@app.after_request
def _end(response: Response) -> Response:
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
def _problem(error: HTTPException) -> Response:
    shown = {"type": "about:blank", "title": error.name, "status": error.code}
    return Response(
        orjson.dumps({**shown, "detail": error.description, "request_id": g.request_id}),
        error.code,
        mimetype="application/problem+json",
    )


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), content_type="application/json")


@app.get("/api/tenants/<uuid:tenant_id>/phone-numbers")
def list_numbers(tenant_id: UUID) -> Response:
    """A tenant's numbers, oldest first."""
    limit = _limit()
    with _cursor() as cursor:
        _authorize(cursor, str(tenant_id), scope="read")
        cursor.execute(sql.opening(str(tenant_id), tenant_id.hex, _ROLE_PREFIX))
        cursor.execute(sql.NUMBERS, (limit + 1,))
        rows = cursor.fetchall()
        cursor.execute("COMMIT")
    return _json([_number(row) for row in rows[:limit]])


def _limit() -> int:
    given = request.args.get("limit")
    if given is None:
        return 25
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:4]) <= 100):
        raise BadRequest("limit is not a whole number from 1 to 100")
    return int(given)


def _authorize(cursor: Any, tenant_id: str, *, scope: str) -> None:
    """Let the tenant's own key or a platform key pass."""
    owner, scopes, path_status = _recognise(cursor, tenant_id)
    if owner is None:
        if path_status in (None, "deleted"):
            raise NotFound
    elif owner != tenant_id:
        raise NotFound
    if scope not in scopes:
        raise Forbidden(f"The key has no scope {scope}.")
    g.logged["tenant_id"] = tenant_id


def _recognise(cursor: Any, tenant_id: str) -> tuple[str | None, list[str], str | None]:
    """The key's tenant (None: the platform's) and scopes, and the status of the path's tenant."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _KEY.fullmatch(key):
        raise Unauthorized
    cursor.execute(sql.KEY, {"asked": tenant_id, "prefix": key[:12]})
    row = cursor.fetchone()
    hashes = [hmac.digest(pepper, key.encode(), "sha256") for pepper in _PEPPERS]
    stored = _NO_HASH if row is None else bytes(row[4])
    matches = [hmac.compare_digest(one, stored) for one in hashes]
    if row is None or not any(matches):
        raise Unauthorized
    key_id, prefix, _, owner, _, scopes, _, _, valid, stale, own_status, path_status, _ = row
    if not valid or own_status == "deleted":
        raise Unauthorized
    if stale or not matches[0]:
        cursor.execute(sql.TOUCH, {"hash": hashes[0], "id": key_id})
    g.logged["key"] = prefix
    return owner, scopes, path_status


def _number(row: tuple[Any, ...]) -> dict[str, Any]:
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
    """A call rings: record it and say what the caller hears first."""
    body = request.get_data()
    said = _said(body)
    _verify(body)
    now = datetime.now(UTC)
    with _cursor() as cursor:
        cursor.execute(sql.OWNER, (said["to"],))
        owner = cursor.fetchone()
        if owner is None or owner[1] == "deleted" or owner[3] == "assigned":
            return _json(_reply([{"type": "reject", "reason": "rejected"}]))
        tenant_id = owner[0]
        cursor.execute(sql.opening(tenant_id, tenant_id.replace("-", ""), _ROLE_PREFIX))
        call_id, actions, lasts = _answer(cursor, said, owner, now)
        cursor.execute("COMMIT")
    state = _seal(tenant_id, call_id) if lasts else None
    return _json(_reply(actions, state))


def _said(body: bytes) -> dict[str, str]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("not JSON") from None
    if not isinstance(said, dict):
        raise BadRequest("not an object")
    for name, longest in (("call_id", 128), ("to", 64), ("from", 256)):
        value = said.setdefault(name, "")
        if not isinstance(value, str) or len(value) > longest:
            raise BadRequest(f"{name} is not a string of at most {longest} characters")
    if not said["call_id"]:
        raise BadRequest("call_id is missing")
    return said


def _verify(body: bytes) -> None:
    given = request.headers.get("X-Fake-Signature", "")
    wanted = hmac.new(_CARRIER_SECRET, _VOICE_URL + b"\n" + body, "sha256").hexdigest()
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        raise Forbidden("The signature is missing or wrong.")


def _answer(
    cursor: Any, said: Mapping[str, str], owner: tuple[Any, ...], now: datetime
) -> tuple[str, list[dict[str, Any]], bool]:
    """Route the call, keep it, and the actions of the answer; whether the call goes on."""
    cursor.execute(sql.ANSWERING, (said["call_id"], owner[2]))
    found = cursor.fetchone()
    cursor.execute(sql.IN_USE)
    route = _route(owner, found, now, cursor.fetchone()[0])
    actions = _actions(route, found)
    lasts = route["decision"] == "agent"
    if found[_KNOWN] is not None:
        return _again(cursor, said["call_id"], actions), actions, lasts
    row = _ring(said, owner, route, now)
    greeting = actions[0]["text"] if lasts else ""
    cursor.execute(sql.RING, {**row, **_told(row, now), "greeting": greeting})
    if cursor.fetchone() is None:
        return _again(cursor, said["call_id"], actions), actions, lasts
    if lasts:
        told = orjson.dumps({"call_id": row["id"]}).decode()
        lock = f"calls.check:{row['id'].replace('-', '')}"
        cursor.execute(sql.CHECK, (told, now + _SILENCE, lock))
    return row["id"], actions, lasts


def _again(cursor: Any, provider_call_id: str, actions: list[dict[str, Any]]) -> str:
    """The same ring once more: the call that it was, and the words that were said."""
    cursor.execute(sql.KNOWN, (provider_call_id,))
    call_id, text = cursor.fetchone()
    if text is not None and actions[0]["type"] == "say":
        actions[0]["text"] = text
    return str(call_id)


def _route(
    owner: tuple[Any, ...], found: tuple[Any, ...], now: datetime, in_use: int
) -> dict[str, Any]:
    """The decision with the rules that led to it."""
    rules: list[dict[str, str]] = []
    decision, end_reason = _decide(owner, found, now, in_use, _noting(rules))
    agent = decision == "agent"
    return {
        "decision": decision,
        "end_reason": end_reason,
        "forward_to": found[4] if decision == "forward" else None,
        "ai_profile_id": found[6] if agent else None,
        "ai_profile_version": found[7] if agent else None,
        "rules": rules,
    }


def _noting(rules: list[dict[str, str]]) -> Callable[[str, str, bool], bool]:
    def note(rule: str, why: str, decided: bool) -> bool:
        rules.append({"rule": rule, "verdict": "decided" if decided else "passed", "why": why})
        return decided

    return note


def _decide(
    owner: tuple[Any, ...],
    found: tuple[Any, ...],
    now: datetime,
    in_use: int,
    note: Callable[[str, str, bool], bool],
) -> tuple[str, str | None]:
    status, rests_until = owner[1], owner[4]
    _, number_id, is_active, mode, _, named, profile_id = found[:7]
    note("number", "a number of this tenant", False)
    if rests_until is not None and now < rests_until:
        note("resting", f"given back; rests until {rests_until.isoformat()}", True)
        return "refused", "number_inactive"
    note("resting", "not resting", False)
    if number_id is None or not is_active:
        note("active", "the number is not active", True)
        return "refused", "number_inactive"
    note("active", "the number is active", False)
    if mode == "closed":
        note("mode", "the number is closed", True)
        return "closed", "closed"
    if mode == "forward" and status == "active":
        note("mode", "the number forwards", True)
        return "forward", "transferred"
    note("mode", f"mode {mode}", False)
    if status != "active":
        note("tenant", f"the tenant is {status}", True)
        return "refused", "tenant_suspended"
    note("tenant", "the tenant is active", False)
    # What is measured is a tenant without hours; with them this would be no smaller than VCA's.
    assert found[_HOURS] is None
    note("hours", "open at all times (the tenant's hours)", False)
    if in_use >= found[_LIMITS].get("concurrent_calls", _LINES[owner[6]]):
        note("limits", "all of the tenant's lines are in use", True)
        return "refused", "concurrency_limit"
    note("limits", "within the tenant's limits", False)
    if note("profile", f"the number names {'this' if named else 'no'} profile", bool(named)):
        return "agent", None
    if profile_id is not None:
        note("default", "the tenant's default profile", True)
        return "agent", None
    note("default", "the tenant has no profile", True)
    return "refused", "declined"


def _actions(route: Mapping[str, Any], found: tuple[Any, ...]) -> list[dict[str, Any]]:
    decision, end_reason = route["decision"], route["end_reason"]
    if decision == "agent":
        name, role, _, greeting, language, voice_name, silence_s = found[8:15]
        text = greeting or f"Hello, this is {name}. {_OFFERS[role]}"
        return [
            _say(text, language, voice_name),
            {"type": "listen", "silence_s": silence_s or 10, "language": language},
        ]
    if decision == "forward":
        return [{"type": "forward", "number": route["forward_to"]}]
    if decision == "closed" or end_reason in ("tenant_suspended", "declined"):
        key = {"tenant_suspended": "suspended", "declined": "fallback"}.get(end_reason, "closed")
        return [_say(found[0].get(key) or sql.SENTENCES[key]), {"type": "hang_up"}]
    return [{"type": "reject", "reason": "rejected"}]


def _say(text: str, language: str | None = None, voice: str | None = None) -> dict[str, Any]:
    spoken = " ".join(_UNSPEAKABLE.sub(" ", text).split())[:2_000]
    return {"type": "say", "text": spoken, "language": language, "voice": voice}


def _ring(
    said: Mapping[str, str], owner: tuple[Any, ...], route: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """The call's row, with its first events."""
    caller = said["from"] if _E164.fullmatch(said["from"]) else None
    refused, lasts = route["decision"] == "refused", route["decision"] == "agent"
    return {
        "id": str(uuid4()),
        "phone_number_id": owner[2],
        "ai_profile_id": route["ai_profile_id"],
        "ai_profile_version": route["ai_profile_version"],
        "status": "in_progress" if lasts else "failed" if refused else "completed",
        "end_reason": route["end_reason"],
        "caller_number": caller,
        "caller_id": "shown" if caller else "withheld",
        "called_number": said["to"],
        "provider_call_id": said["call_id"],
        "started_at": now,
        "answered_at": None if refused else now,
        "ended_at": None if lasts else now,
        "route": orjson.dumps(route).decode(),
        "events": orjson.dumps(_events(said["call_id"], route, now)).decode(),
    }


def _events(provider_call_id: str, route: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """That it rang, and what our answer does to the call."""
    events = [_event("RINGING", f"ring-{provider_call_id}", now)]
    if route["decision"] != "refused":
        events.append(_event("ANSWERED", "own-ANSWERED", now))
    if route["decision"] != "agent":
        end = "FAILED" if route["decision"] == "refused" else "ENDED"
        details = {"end_reason": route["end_reason"]}
        events.append({**_event(end, f"own-{end}", now), "details": details})
    return events


def _told(ring: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What the tenant's own systems are told, in this order."""
    came = ["call.started", *["call.answered"] * bool(ring["answered_at"])]
    came += ["call.ended"] * bool(ring["ended_at"])
    data = {
        "call_id": ring["id"],
        "direction": "inbound",
        "status": ring["status"],
        "phone_number_id": ring["phone_number_id"],
        "ai_profile_id": ring["ai_profile_id"],
        "started_at": ring["started_at"],
        "answered_at": ring["answered_at"],
        "ended_at": ring["ended_at"],
        "end_reason": ring["end_reason"],
        "duration_seconds": None if ring["ended_at"] is None else 0,
    }
    told = [
        {
            "id": uuid4(),
            "type": type,
            "simulated": False,
            "data": data,
            "at": now + timedelta(microseconds=place),
        }
        for place, type in enumerate(came)
    ]
    return {
        "told": orjson.dumps(told, option=orjson.OPT_UTC_Z).decode(),
        "told_expires_at": now + _TOLD_FOR,
        "told_forget_at": now + _A_DAY,
        "told_a_day_ago": now - _A_DAY,
    }


def _event(event_type: str, key: str, now: datetime) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "event_type": event_type,
        "event_key": key,
        "timestamp": now,
        "position": _POSITIONS[event_type],
        "details": {},
    }


def _seal(tenant_id: str, call_id: str) -> str:
    return str(_state.dumps([tenant_id.replace("-", ""), call_id.replace("-", ""), 1, 0]))


def _reply(actions: list[dict[str, Any]], state: str | None = None) -> dict[str, Any]:
    return {"actions": actions, "state": state, "callback_url": _CALLBACK_URL}
