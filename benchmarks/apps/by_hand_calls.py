"""The inbound call of the hand-written app: its check, route, rows and actions."""

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
from flask import request
from itsdangerous import URLSafeSerializer
from werkzeug.exceptions import BadRequest, Forbidden

from benchmarks.apps import by_hand_sql as sql

_SECRET = os.environ["SECRET_KEY"]
_BASE_URL = os.environ["PUBLIC_BASE_URL"]
_CARRIER_SECRET = f"fake-carrier|{_SECRET}".encode()
_VOICE_URL = f"{_BASE_URL}/telephony/fake/voice".encode()
_CALLBACK_URL = f"{_BASE_URL}/telephony/fake/"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_OFFERS = {
    "receptionist": "How may I help you?",
    "sales": "What are you looking for?",
    "support": "What can I help you with?",
    "dispatcher": "What has happened, and where are you?",
    "custom": "How can I help you?",
}
_POSITIONS = {"RINGING": 1, "ANSWERED": 2, "FAILED": 4, "ENDED": 5}
# Positions of the columns of `sql.SELECT_ROUTING` after those of the profile.
_HOURS, _LIMITS, _EXISTING_CALL = 15, 16, 22
_CONCURRENT_CALLS = {"starter": 2, "growth": 20, "custom": 20}
_DELIVERY_LIFETIME, _ONE_DAY = timedelta(days=5), timedelta(days=1)
_SILENCE_TIMEOUT = timedelta(seconds=120)

_state = URLSafeSerializer(
    _SECRET,
    salt="call",
    signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
)


def parse_ring(body: bytes) -> dict[str, str]:
    """Return the fields of a ring request; raise BadRequest if one is missing or invalid."""
    try:
        ring = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("not JSON") from None
    if not isinstance(ring, dict):
        raise BadRequest("not an object")
    for name, max_length in (("call_id", 128), ("to", 64), ("from", 256)):
        value = ring.setdefault(name, "")
        if not isinstance(value, str) or len(value) > max_length:
            raise BadRequest(f"{name} is not a string of at most {max_length} characters")
    if not ring["call_id"]:
        raise BadRequest("call_id is missing")
    return ring


def verify_signature(body: bytes) -> None:
    """Raise Forbidden unless the carrier signed the body of the current request."""
    signature = request.headers.get("X-Fake-Signature", "")
    expected = hmac.new(_CARRIER_SECRET, _VOICE_URL + b"\n" + body, "sha256").hexdigest()
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise Forbidden("The signature is missing or wrong.")


def handle_ring(
    cursor: Any, ring: Mapping[str, str], owner: tuple[Any, ...], now: datetime
) -> tuple[str, list[dict[str, Any]], bool]:
    """Route and store the call; return its id, the actions, and whether the call continues."""
    cursor.execute(sql.SELECT_ROUTING, (ring["call_id"], owner[2]))
    routing_row = cursor.fetchone()
    cursor.execute(sql.COUNT_LIVE_CALLS)
    route = _route(owner, routing_row, now, cursor.fetchone()[0])
    actions = _answer_actions(route, routing_row)
    continues = route["decision"] == "agent"
    if routing_row[_EXISTING_CALL] is not None:
        return _replay_ring(cursor, ring["call_id"], actions), actions, continues
    call = _call_row(ring, owner, route, now)
    greeting = actions[0]["text"] if continues else ""
    cursor.execute(
        sql.INSERT_CALL, {**call, **_webhook_event_parameters(call, now), "greeting": greeting}
    )
    if cursor.fetchone() is None:
        return _replay_ring(cursor, ring["call_id"], actions), actions, continues
    if continues:
        job_arguments = orjson.dumps({"call_id": call["id"]}).decode()
        lock = f"calls.check:{call['id'].replace('-', '')}"
        cursor.execute(sql.ENQUEUE_SILENCE_CHECK, (job_arguments, now + _SILENCE_TIMEOUT, lock))
    return call["id"], actions, continues


def _replay_ring(cursor: Any, provider_call_id: str, actions: list[dict[str, Any]]) -> str:
    """Return the call id of a repeated ring, and put the stored greeting into the actions."""
    cursor.execute(sql.SELECT_EXISTING_CALL, (provider_call_id,))
    call_id, text = cursor.fetchone()
    if text is not None and actions[0]["type"] == "say":
        actions[0]["text"] = text
    return str(call_id)


def _route(
    owner: tuple[Any, ...], routing_row: tuple[Any, ...], now: datetime, in_use: int
) -> dict[str, Any]:
    """Return the routing decision with the rules that led to it."""
    rules: list[dict[str, str]] = []
    decision, end_reason = _decide(owner, routing_row, now, in_use, _rule_recorder(rules))
    agent = decision == "agent"
    return {
        "decision": decision,
        "end_reason": end_reason,
        "forward_to": routing_row[4] if decision == "forward" else None,
        "ai_profile_id": routing_row[6] if agent else None,
        "ai_profile_version": routing_row[7] if agent else None,
        "rules": rules,
    }


def _rule_recorder(rules: list[dict[str, str]]) -> Callable[[str, str, bool], bool]:
    def record_rule(rule: str, why: str, decided: bool) -> bool:
        rules.append({"rule": rule, "verdict": "decided" if decided else "passed", "why": why})
        return decided

    return record_rule


def _decide(
    owner: tuple[Any, ...],
    routing_row: tuple[Any, ...],
    now: datetime,
    in_use: int,
    record_rule: Callable[[str, str, bool], bool],
) -> tuple[str, str | None]:
    status, quarantined_until = owner[1], owner[4]
    _, number_id, is_active, mode, _, number_profile_id, profile_id = routing_row[:7]
    record_rule("number", "the number belongs to this tenant", False)
    if quarantined_until is not None and now < quarantined_until:
        record_rule(
            "resting", f"released; in quarantine until {quarantined_until.isoformat()}", True
        )
        return "refused", "number_inactive"
    record_rule("resting", "not in quarantine", False)
    if number_id is None or not is_active:
        record_rule("active", "the number is not active", True)
        return "refused", "number_inactive"
    record_rule("active", "the number is active", False)
    if mode == "closed":
        record_rule("mode", "the number is closed", True)
        return "closed", "closed"
    if mode == "forward" and status == "active":
        record_rule("mode", "the number forwards its calls", True)
        return "forward", "transferred"
    record_rule("mode", f"mode {mode}", False)
    if status != "active":
        record_rule("tenant", f"the tenant is {status}", True)
        return "refused", "tenant_suspended"
    record_rule("tenant", "the tenant is active", False)
    # The benchmark's tenants have no opening hours, which would take as much code as in VCA.
    assert routing_row[_HOURS] is None
    record_rule("hours", "open at all times (the tenant's hours)", False)
    if in_use >= routing_row[_LIMITS].get("concurrent_calls", _CONCURRENT_CALLS[owner[6]]):
        record_rule("limits", "the concurrency limit is reached", True)
        return "refused", "concurrency_limit"
    record_rule("limits", "within the tenant's limits", False)
    if record_rule(
        "profile",
        f"the number has {'this profile' if number_profile_id else 'no profile of its own'}",
        bool(number_profile_id),
    ):
        return "agent", None
    if profile_id is not None:
        record_rule("default", "the tenant's default profile", True)
        return "agent", None
    record_rule("default", "the tenant has no profile", True)
    return "refused", "declined"


def _answer_actions(route: Mapping[str, Any], routing_row: tuple[Any, ...]) -> list[dict[str, Any]]:
    decision, end_reason = route["decision"], route["end_reason"]
    if decision == "agent":
        name, role, _, greeting, language, voice_name, silence_s = routing_row[8:15]
        text = greeting or f"Hello, this is {name}. {_OFFERS[role]}"
        return [
            _say_action(text, language, voice_name),
            {"type": "listen", "silence_s": silence_s or 10, "language": language},
        ]
    if decision == "forward":
        return [{"type": "forward", "number": route["forward_to"]}]
    if decision == "closed" or end_reason in ("tenant_suspended", "declined"):
        key = {"tenant_suspended": "suspended", "declined": "fallback"}.get(end_reason, "closed")
        return [_say_action(routing_row[0].get(key) or sql.SENTENCES[key]), {"type": "hang_up"}]
    return [{"type": "reject", "reason": "rejected"}]


def _say_action(text: str, language: str | None = None, voice: str | None = None) -> dict[str, Any]:
    cleaned = " ".join(_CONTROL_CHARACTERS.sub(" ", text).split())[:2_000]
    return {"type": "say", "text": cleaned, "language": language, "voice": voice}


def _call_row(
    ring: Mapping[str, str], owner: tuple[Any, ...], route: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return the call's row with its first events."""
    caller = ring["from"] if _E164.fullmatch(ring["from"]) else None
    is_refused, continues = route["decision"] == "refused", route["decision"] == "agent"
    return {
        "id": str(uuid4()),
        "phone_number_id": owner[2],
        "ai_profile_id": route["ai_profile_id"],
        "ai_profile_version": route["ai_profile_version"],
        "status": "in_progress" if continues else "failed" if is_refused else "completed",
        "end_reason": route["end_reason"],
        "caller_number": caller,
        "caller_id": "shown" if caller else "withheld",
        "called_number": ring["to"],
        "provider_call_id": ring["call_id"],
        "started_at": now,
        "answered_at": None if is_refused else now,
        "ended_at": None if continues else now,
        "route": orjson.dumps(route).decode(),
        "events": orjson.dumps(_call_events(ring["call_id"], route, now)).decode(),
    }


def _call_events(
    provider_call_id: str, route: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    """Return the ringing event and the events that our answer causes."""
    events = [_call_event("RINGING", f"ring-{provider_call_id}", now)]
    if route["decision"] != "refused":
        events.append(_call_event("ANSWERED", "own-ANSWERED", now))
    if route["decision"] != "agent":
        end = "FAILED" if route["decision"] == "refused" else "ENDED"
        details = {"end_reason": route["end_reason"]}
        events.append({**_call_event(end, f"own-{end}", now), "details": details})
    return events


def _webhook_event_parameters(call: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the SQL parameters of the webhook events of the call, in the order of the events."""
    event_types = ["call.started", *["call.answered"] * bool(call["answered_at"])]
    event_types += ["call.ended"] * bool(call["ended_at"])
    data = {
        "call_id": call["id"],
        "direction": "inbound",
        "status": call["status"],
        "phone_number_id": call["phone_number_id"],
        "ai_profile_id": call["ai_profile_id"],
        "started_at": call["started_at"],
        "answered_at": call["answered_at"],
        "ended_at": call["ended_at"],
        "end_reason": call["end_reason"],
        "duration_seconds": None if call["ended_at"] is None else 0,
    }
    events = [
        {
            "id": uuid4(),
            "type": event_type,
            "simulated": False,
            "data": data,
            "at": now + timedelta(microseconds=position),
        }
        for position, event_type in enumerate(event_types)
    ]
    return {
        "told": orjson.dumps(events, option=orjson.OPT_UTC_Z).decode(),
        "told_expires_at": now + _DELIVERY_LIFETIME,
        "told_forget_at": now + _ONE_DAY,
        "told_a_day_ago": now - _ONE_DAY,
    }


def _call_event(event_type: str, key: str, now: datetime) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "event_type": event_type,
        "event_key": key,
        "timestamp": now,
        "position": _POSITIONS[event_type],
        "details": {},
    }


def sign_state(tenant_id: str, call_id: str) -> str:
    """Return the state token of a call that has only its greeting."""
    return str(_state.dumps([tenant_id.replace("-", ""), call_id.replace("-", ""), 1, 0]))


def reply_body(actions: list[dict[str, Any]], state: str | None = None) -> dict[str, Any]:
    """Return the JSON object that the carrier expects."""
    return {"actions": actions, "state": state, "callback_url": _CALLBACK_URL}
