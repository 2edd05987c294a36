"""Tests of the strict JSON loader: it returns storable values or raises InvalidJson, quickly."""

import json as standard
import math
from time import process_time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vca.kit import json
from vca.kit.json import MAX_DEPTH, MAX_INTEGER, MAX_MEMBERS, InvalidJson

SETTINGS = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
MAX_BODY_BYTES = 256 * 1024
_TOKENS = [
    *("{", "}", "[", "]", ",", ":", '"', "\\", '\\"', '"a"', '"b":', " ", "\n", "é", "\x00"),
    *("0", "-", "1e9", "1E+999", "9" * 21, "true", "null", "NaN", "Infinity"),
    *("\\u0000", "\\ud800"),
]

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def _load_or_error(body: bytes) -> Any:
    try:
        return json.strict_loads(body)
    except InvalidJson:
        return InvalidJson


@SETTINGS
@given(st.binary(max_size=300))
@example(b"\xed\xa0\x80")
@example(b"\xff\xfe[\x00]\x00")
@example(b'"\\')
def test_any_bytes_are_a_storable_value_or_invalid_json(body: bytes) -> None:
    _check_result(body)


@SETTINGS
@given(st.lists(st.sampled_from(_TOKENS), max_size=40).map("".join))
@example("[" * 33)
@example('{"a":1,"a":1}')
@example('{"\\u0061":1,"a":1}')
@example("[-0, -0.0, 1e-999]")
@example("[" * 5_000 + "]" * 5_000)
def test_any_text_like_json_is_a_storable_value_or_invalid_json(text: str) -> None:
    _check_result(text.encode("utf-8", "surrogatepass"))


def _check_result(body: bytes) -> None:
    value = _load_or_error(body)
    if value is not InvalidJson:
        assert standard.loads(body.decode()) == value
        assert _is_storable(value)


@SETTINGS
@given(values)
def test_every_storable_value_is_loaded_unchanged(value: Any) -> None:
    loaded_value = json.strict_loads(standard.dumps(value).encode())

    assert loaded_value == value
    assert json.strict_loads(standard.dumps(value, ensure_ascii=False).encode()) == value
    assert json.loads(json.dumps(value)) == value


def _is_storable(value: Any, depth: int = 0) -> bool:
    """Return whether Postgres can store the value; independent of the loader's implementation."""
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        parts = value
    elif isinstance(value, str):
        return all(char != "\x00" and not 0xD800 <= ord(char) <= 0xDFFF for char in value)
    elif isinstance(value, float):
        return math.isfinite(value)
    else:
        return value is None or isinstance(value, bool) or -(2**63) < value < 2**63
    return depth < MAX_DEPTH and all(_is_storable(part, depth + 1) for part in parts)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": "\\u0000"}', "/a"),
        (b'{"a": ["x", {"b": "\\ud800"}]}', "/a/1/b"),
        (b'{"a~b/c": NaN}', "/a~0b~1c"),
        (b'{"a": Infinity}', "/a"),
        (b'{"a": [1, -Infinity]}', "/a/1"),
        (b'{"a": 1e999}', "/a"),
        (b'{"a": 9223372036854775808}', "/a"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "/a"),
        (b'{"a": -' + b"9" * 100_000 + b"}", "/a"),
        (b'["\\u0000"]', "/0"),
        (b'"\\u0000"', ""),
        (b"NaN", ""),
    ],
)
def test_an_unstorable_value_is_rejected_with_its_pointer(body: bytes, pointer: str) -> None:
    with pytest.raises(InvalidJson) as error:
        json.strict_loads(body)

    assert error.value.pointer == pointer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1,}',
        b"{} {}",
        b"{'a': 1}",
        b"{a: 1}",
        b"[1] // x",
        b"0x1",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b'"a\nb"',
        b'"\\x41"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\xae"',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-32"),
        b"\xef\xbb\xbf{}",
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000,
        b'{"a":' * 3_000,
    ],
)
def test_invalid_or_ambiguous_json_is_rejected_without_a_pointer(body: bytes) -> None:
    with pytest.raises(InvalidJson) as error:
        json.strict_loads(body)

    assert error.value.pointer is None
    assert len(str(error.value)) < 200


def test_members_are_limited_without_commas_in_strings() -> None:
    largest = b"[" + b"1," * (MAX_MEMBERS - 1) + b"1]"
    commas_in_strings = b'{"a": "' + b"," * 100_000 + b'", "b": "\\",' + b"," * 100_000 + b'"}'

    assert len(json.strict_loads(largest)) == MAX_MEMBERS
    assert len(json.strict_loads(commas_in_strings)) == 2
    with pytest.raises(InvalidJson, match="more than 5000 members"):
        json.strict_loads(b"[1," + largest[1:])


def test_depth_is_limited_without_brackets_in_strings() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    brackets_in_strings = b'["' + b"[{" * 1_000 + b'", "\\"[[[", "' + b"]" * 1_000 + b'"]'

    assert isinstance(json.strict_loads(deepest), list)
    assert len(json.strict_loads(brackets_in_strings)) == 3
    assert len(json.strict_loads(b"[" + b"[]," * 1_000 + b"[]]")) == 1_001
    with pytest.raises(InvalidJson, match="deeper than 32"):
        json.strict_loads(b"[" + deepest + b"]")


FRAGMENTS = [b'\\"', b"\\", b'"', b"[", b"]", b"{", b'{"a":', b'"a",', b'"\\', b"[[],", b"9", b"1,"]


# Below 33 brackets and 5,000 commas the loader does not count, so some texts start with more.
_COUNTED_START = b"[" + b"[]," * 40


@pytest.mark.parametrize("fragment", FRAGMENTS)
@pytest.mark.parametrize("start", [b"", b'"', b'{"a": "', _COUNTED_START, _COUNTED_START + b'"'])
def test_loading_time_is_linear_for_repetitive_texts(start: bytes, fragment: bytes) -> None:
    def cost_s(length: int) -> float:
        body = start + fragment * ((length - len(start)) // len(fragment))
        return min(_loading_time_s(body) for _ in range(2))

    short_s = cost_s(MAX_BODY_BYTES // 8)
    assert short_s < 0.25
    long_s = cost_s(MAX_BODY_BYTES)

    assert long_s < 0.5
    assert long_s < 8 * 3 * short_s + 0.02


def _loading_time_s(body: bytes) -> float:
    started_at = process_time()
    _load_or_error(body)
    return process_time() - started_at


def test_lenient_dump_accepts_any_value() -> None:
    class Unserializable:
        def __repr__(self) -> str:
            return "odd"

    unusual_keys: dict[Any, Any] = {(1, 2): "dropped", "b": {"c": Unserializable()}, "d": 2**70}

    assert json.dumps_lenient({"a": Unserializable()}) == '{"a":"odd"}'
    assert "odd" in json.dumps_lenient(unusual_keys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a {"b": [1]} c [2] {d} {"e": 3}', [{"b": [1]}, [2], {"e": 3}]),
        ('{"a": "line\nbreak"}', [{"a": "line\nbreak"}]),
        ('{"a": "\\u0000b\\ud83d", "c": 1e999, "d": NaN}', [{"a": "b", "c": None, "d": None}]),
        ('{"a": 99999999999999999999, "b": -5, "c": true}', [{"a": None, "b": -5, "c": True}]),
        (f'{{"a": {"9" * 400}, "b": 1e300}}', [{"a": None, "b": 1e300}]),
        ('"{\\"a\\": 1}" and "{b}"', [{"a": 1}]),
        ('he wrote "{"a": 1}"', [{"a": 1}]),
        ('{"a": 1, "a": 2}', [{"a": 2}]),
        ("[" * 40 + "]" * 40 + "[1]", [[1]]),
        ('{"a": ', []),
        ("", []),
    ],
)
def test_a_text_yields_the_values_that_it_contains(text: str, expected: list[Any]) -> None:
    assert list(json.find_values(text)) == expected
    assert json.strict_loads(json.dumps(expected)) == expected
