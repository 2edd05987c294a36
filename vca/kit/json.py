"""JSON, strict on the way in, fast on the way out."""

import json
import math
import re
from typing import Any, NoReturn

import orjson
from flask import Response
from flask.json.provider import JSONProvider

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
# An unterminated string is taken to the end of the body, so that no input makes this quadratic.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")


class BadJson(ValueError):
    """The text is not JSON, or JSON that no careful peer would send."""


def dumps(value: Any) -> bytes:
    """UTF-8 JSON; knows UUIDs, dataclasses and aware datetimes (RFC 3339, `Z` for UTC)."""
    return orjson.dumps(value, option=_OPTIONS)


def dumps_loose(value: Any) -> str:
    """JSON text of anything at all, for logs: what is not JSON is written as its repr."""
    try:
        return orjson.dumps(value, option=_OPTIONS, default=repr).decode()
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value, default=repr, skipkeys=True)


def loads(text: str | bytes) -> Any:
    """Parse trusted JSON (our own columns, an SDK's answers)."""
    return orjson.loads(text)


def strict_loads(body: bytes) -> Any:
    """Parse a stranger's JSON; raises BadJson instead of guessing.

    Refused: depth over 32, duplicate keys, NaN and infinities (also `1e999`), integers outside
    64 bits, NUL and lone surrogates (Postgres can store neither), anything but UTF-8.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJson("The body is not UTF-8.") from None
    _check_depth(body)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise BadJson(f"The body is not JSON: {error.msg} at character {error.pos}.") from None


def storable(text: str) -> bool:
    """Whether Postgres can store the text: no NUL, no lone surrogate."""
    return _UNPRINTABLE.search(text) is None


def _check_depth(body: bytes) -> None:
    """Counted before parsing: the parser itself would recurse."""
    depth = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
        elif byte in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise BadJson("The body has a duplicate key.")
        if not storable(key):
            raise BadJson("The body has a key with an unprintable character.")
        result[key] = _checked(value)
    return result


def _checked(value: Any) -> Any:
    """Strings are checked where they stand: as values of objects and items of lists."""
    if isinstance(value, str):
        if not storable(value):
            raise BadJson("The body has a string with NUL or a lone surrogate.")
    elif isinstance(value, list):
        for item in value:
            _checked(item)
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) > MAX_INTEGER:
        raise BadJson("The body has an integer outside 64 bits.")
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadJson("The body has a number that is not finite.")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise BadJson(f"The body has {name}, which is not JSON.")


class FastJson(JSONProvider):
    """Flask's JSON provider over orjson."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return dumps(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return strict_loads(s.encode() if isinstance(s, str) else s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        value = self._prepare_response_obj(args, kwargs)
        return Response(dumps(value), mimetype="application/json")
