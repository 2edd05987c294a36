"""What every response must satisfy, and what an accepted body must be."""

import json as standard_json
import math
import re
from collections.abc import Iterator
from typing import Any

from tests.support.api import ApiResponse, without_request_id

# Texts that a response would contain if it described our implementation.
_INTERNALS = re.compile(
    r"Traceback|File \"|\.py\b|psycopg|sqlalchemy|werkzeug|marshmallow|site-packages|/tmp/"
    r"|\bSELECT\b|\bINSERT\b|\bUPDATE\b|\bDELETE FROM\b|\bpg_\w+|sqlstate|Exception|\w+Error\b"
)
_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PROBLEM_MEMBERS = {"type", "title", "status", "code", "request_id"}
_MAX_DEPTH = 32
# Error responses without a fault, apart from their request ids.
_faultless: set[tuple[int, str | None, bytes]] = set()


def response_faults(response: ApiResponse) -> list[str]:
    """Return what is wrong with a response, whatever the request was."""
    return list(_response_faults(response))


def parse_standard_json(data: bytes) -> tuple[bool, Any]:
    """Return whether the standard library reads the text as JSON without duplicates; the value."""
    try:
        value = standard_json.loads(data.decode(), object_pairs_hook=_unique_members)
        return _depth(value) <= _MAX_DEPTH, value
    except (ValueError, RecursionError):
        return False, None


def is_storable(value: Any) -> bool:
    """Return whether Postgres can store it: no NUL, no lone surrogate, 64 bits, finite."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(is_storable, parts))
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is None
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63


def _response_faults(response: ApiResponse) -> Iterator[str]:
    if response.status_code >= 500:
        yield f"{response.status_code} {response.text[:200]}"
    request_id = response.headers.get("X-Request-Id", "")
    if not _REQUEST_ID.fullmatch(request_id):
        yield f"the request id is {request_id!r}"
    if response.status_code < 400 or not response.data:
        return
    key = (response.status_code, response.mimetype, without_request_id(response))
    if key not in _faultless:
        faults = list(_problem_faults(response, request_id))
        yield from faults
        if not faults:
            _faultless.add(key)


def _problem_faults(response: ApiResponse, request_id: str) -> Iterator[str]:
    if response.mimetype != "application/problem+json":
        yield f"{response.mimetype} is not a problem document"
        return
    problem = response.json
    missing = _PROBLEM_MEMBERS - problem.keys()
    if missing:
        yield f"the problem document lacks {sorted(missing)}: {problem}"
        return
    if problem["status"] != response.status_code or problem["request_id"] != request_id:
        yield f"the problem document has another status or request id: {problem}"
    if not _CODE.fullmatch(problem["code"]):
        yield f"the code is {problem['code']!r}"
    if match := _INTERNALS.search(response.text):
        yield f"it describes our implementation: {match[0]!r} in {response.text[:300]}"


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner_values = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner_values), default=0)
