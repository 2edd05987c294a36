"""JSON, strict on the way in, fast on the way out."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

MAX_DEPTH = 32
MAX_MEMBERS = 5_000
MAX_INTEGER = 2**63 - 1
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
# An unterminated string is taken to the end of the body, so that no input makes this quadratic.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class InvalidJson(ValueError):
    """The text is not JSON, or JSON that no careful peer would send.

    `pointer` is the RFC 6901 pointer of the value at fault, None when it is the text as a whole.
    """

    def __init__(self, message: str, *, pointer: str | None = None) -> None:
        super().__init__(message)
        self.pointer = pointer


def dumps(value: Any) -> bytes:
    """UTF-8 JSON; knows UUIDs, dataclasses and aware datetimes (RFC 3339, `Z` for UTC)."""
    return orjson.dumps(value, option=_OPTIONS)


def dumps_lenient(value: Mapping[str, Any]) -> str:
    """A JSON object of anything at all, for logs: what is not JSON is written as its repr."""
    try:
        return orjson.dumps(value, option=_OPTIONS, default=repr).decode()
    except (TypeError, orjson.JSONEncodeError):
        return orjson.dumps(
            {ascii(name)[1:-1]: _json_or_repr(item) for name, item in value.items()}
        ).decode()


def _json_or_repr(value: Any) -> Any:
    """The value if it can be JSON, else its repr in ASCII: circles, huge integers, surrogates."""
    try:
        return orjson.Fragment(orjson.dumps(value, option=_OPTIONS, default=repr))
    except (TypeError, orjson.JSONEncodeError):
        return ascii(value)


def loads(text: str | bytes) -> Any:
    """Parse trusted JSON (our own columns, an SDK's answers)."""
    return orjson.loads(text)


def strict_loads(body: bytes) -> Any:
    """Parse a stranger's JSON; raises BadJson instead of guessing.

    Refused: depth over 32, more than 5,000 members, duplicate keys, NaN and infinities (also
    `1e999`), integers outside 64 bits, NUL and lone surrogates (Postgres can store neither),
    anything but UTF-8.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidJson("The body is not UTF-8.") from None
    _check_size(body)
    try:
        value = json.loads(
            text, object_pairs_hook=_build_object, parse_int=_parse_integer, parse_constant=float
        )
    except json.JSONDecodeError as error:
        raise InvalidJson(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    _check_value(value, "")
    return value


def is_storable(text: str) -> bool:
    """Whether Postgres can store the text: no NUL, no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def _check_size(body: bytes) -> None:
    """Counted before parsing: the parser itself would recurse, and each member costs time later."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH and body.count(b",") < MAX_MEMBERS:
        return
    depth, structure = 0, _STRINGS.sub(b"", body)
    if structure.count(b",") >= MAX_MEMBERS:
        raise InvalidJson(f"The body has more than {MAX_MEMBERS} members.")
    for byte in structure:
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
        elif byte in b"]}":
            depth -= 1


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidJson("The body has a duplicate key.")
    return result


def _parse_integer(digits: str) -> int | float:
    """Longer ones cost quadratic time to read, and are refused like every one outside 64 bits."""
    return int(digits) if len(digits) <= 20 else math.inf


def _check_value(value: Any, pointer: str) -> None:
    """Refuse what JSON can say and we cannot keep; the depth was bounded before."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not is_storable(key):
                raise InvalidJson("A key has NUL or a lone surrogate.", pointer=pointer)
            _check_value(inner, f"{pointer}/{escape_pointer_step(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_value(inner, f"{pointer}/{index}")
    elif isinstance(value, str) and not is_storable(value):
        raise InvalidJson("Has NUL or a lone surrogate.", pointer=pointer)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InvalidJson("Is an integer outside 64 bits.", pointer=pointer)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidJson("Is not a finite number within 64 bits.", pointer=pointer)


def escape_pointer_step(step: str) -> str:
    """One step of an RFC 6901 pointer, bounded and printable: the name may be a stranger's."""
    printable = "".join(char for char in step[:100] if char.isprintable())
    return printable.replace("~", "~0").replace("/", "~1")


class OrjsonProvider(JSONProvider):
    """Flask's JSON provider over orjson."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return dumps(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return strict_loads(s.encode() if isinstance(s, str) else s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        value = self._prepare_response_obj(args, kwargs)
        return Response(dumps(value), mimetype="application/json")
