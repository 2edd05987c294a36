"""JSON: strict parsing and fast serialisation."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

MAX_DEPTH = 32
MAX_MEMBERS = 5_000
MAX_INTEGER = 2**63 - 1
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
# An unterminated string matches up to the end of the body, so that no input takes quadratic time.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
# Group 1 is an escape that is kept; what matches without it is half of a surrogate pair.
_SURROGATE_ESCAPES = re.compile(
    r"(\\(?:[^u]|ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}))|\\ud[89a-f][0-9a-f]{2}", re.IGNORECASE
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# An object, a list, or a string that may contain one of them as JSON.
_VALUE_START = re.compile(r'[{\[]|"(?=(?:\\[nrt]|\s|[`~]{3}\w{0,20}){0,20}+[{\[])')
_MAX_VALUE_STARTS = 1_000
_LENIENT_DECODER = json.JSONDecoder(strict=False)


class InvalidJson(ValueError):
    """The text is not JSON, or JSON that is rejected by the strict parser.

    `pointer` is the RFC 6901 pointer of the invalid value, or None if the whole text is invalid.
    """

    def __init__(self, message: str, *, pointer: str | None = None) -> None:
        super().__init__(message)
        self.pointer = pointer


def dumps(value: Any) -> bytes:
    """Return UTF-8 JSON; supports UUIDs, dataclasses and aware datetimes (RFC 3339, UTC as `Z`)."""
    return orjson.dumps(value, option=_OPTIONS)


def dumps_lenient(value: Mapping[str, Any]) -> str:
    """Return a JSON object for logs; values that are not JSON are written as their repr."""
    try:
        return orjson.dumps(value, option=_OPTIONS, default=repr).decode()
    except (TypeError, orjson.JSONEncodeError):
        return orjson.dumps(
            {ascii(name)[1:-1]: _json_or_repr(item) for name, item in value.items()}
        ).decode()


def _json_or_repr(value: Any) -> Any:
    """Return the value, or its ASCII repr if it is not JSON: cycles, huge integers, surrogates."""
    try:
        return orjson.Fragment(orjson.dumps(value, option=_OPTIONS, default=repr))
    except (TypeError, orjson.JSONEncodeError):
        return ascii(value)


def loads(text: str | bytes) -> Any:
    """Parse trusted JSON, such as database columns and responses of an SDK."""
    return orjson.loads(text)


def loads_tolerant(data: bytes) -> Any:
    """Parse JSON as careless programs write it: with NaN, invalid UTF-8 or lone surrogates.

    Invalid characters are left out. Raises InvalidJson.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "ignore")
    try:
        return json.loads(
            _SURROGATE_ESCAPES.sub(lambda match: match[1] or "", text), parse_int=_parse_integer
        )
    except (ValueError, RecursionError):
        raise InvalidJson("The text is not JSON.") from None


def find_values(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists that a text contains, also those in JSON strings, in order.

    Strings may contain line breaks. Characters and numbers that cannot be stored are left out.
    Values that are too deep or too large for `strict_loads` are skipped.
    """
    position = 0
    for _ in range(_MAX_VALUE_STARTS):
        start = _VALUE_START.search(text, position)
        if start is None:
            return
        position = start.end()
        try:
            value, end = _LENIENT_DECODER.raw_decode(text, start.start())
            values = list(find_values(value)) if isinstance(value, str) else [value]
            position = end if values else position
            _check_size(text[start.start() : end].encode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            continue
        yield from map(_drop_unstorable, values)


def strict_loads(body: bytes) -> Any:
    """Parse untrusted JSON; raises InvalidJson instead of guessing.

    Rejected: depth over 32, more than 5,000 members, duplicate keys, NaN and infinities (also
    `1e999`), integers outside 64 bits, NUL and lone surrogates (Postgres cannot store them), and
    any encoding but UTF-8.
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


class RepeatedKey:
    """The value of a key that an object has more than once; a reader of the key rejects it."""


_REPEATED_KEY = RepeatedKey()


def tolerant_loads(body: bytes) -> Any:
    """Parse untrusted JSON whose caller reads only some members; raises InvalidJson.

    A member that the caller does not read cannot make it fail, whatever the member contains.
    The reader checks what it reads: a text may be unfit for `is_storable`, a number infinite, and
    the value of a repeated key is a `RepeatedKey`.
    """
    try:
        return json.loads(
            body.decode("utf-8", "surrogateescape"),
            strict=False,
            object_pairs_hook=_build_tolerant_object,
            parse_int=_parse_integer,
            parse_constant=float,
        )
    except json.JSONDecodeError as error:
        raise InvalidJson(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidJson("The body is nested too deeply.") from None


def is_storable(text: str) -> bool:
    """Return whether Postgres can store the text: no NUL, no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def _check_size(body: bytes) -> None:
    """Check depth and members before parsing, which recurses; each member costs time later."""
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


def _build_tolerant_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        result.update((key, _REPEATED_KEY) for key, count in counts.items() if count > 1)
    return result


def _parse_integer(digits: str) -> int | float:
    """Parse an integer; return infinity, which is rejected later, for more than 20 digits.

    Parsing long integers takes quadratic time.
    """
    return int(digits) if len(digits) <= 20 else math.inf


def _check_value(value: Any, pointer: str) -> None:
    """Reject values that are valid JSON but cannot be stored; the depth is checked already."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not is_storable(key):
                raise InvalidJson("A key contains NUL or a lone surrogate.", pointer=pointer)
            _check_value(inner, f"{pointer}/{escape_pointer_step(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_value(inner, f"{pointer}/{index}")
    elif isinstance(value, str) and not is_storable(value):
        raise InvalidJson("Contains NUL or a lone surrogate.", pointer=pointer)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InvalidJson("Is an integer outside 64 bits.", pointer=pointer)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidJson("Is not a finite number within 64 bits.", pointer=pointer)


def _drop_unstorable(value: Any) -> Any:
    """Return the value without NUL and lone surrogates, and with null for impossible numbers."""
    match value:
        case dict():
            return {_UNSTORABLE.sub("", key): _drop_unstorable(item) for key, item in value.items()}
        case list():
            return [_drop_unstorable(item) for item in value]
        case str():
            return _UNSTORABLE.sub("", value)
        case int() if abs(value) > MAX_INTEGER:
            return None
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def escape_pointer_step(step: str) -> str:
    """Return one step of an RFC 6901 pointer, bounded and printable: the name is untrusted."""
    printable = "".join(char for char in step[:100] if char.isprintable())
    return printable.replace("~", "~0").replace("/", "~1")
