"""The strict JSON loader: whatever the bytes, a value that can be kept, or BadJson, and soon."""

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
LARGEST = 256 * 1024
_WORDS = [
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


def _tried(body: bytes) -> Any:
    try:
        return json.strict_loads(body)
    except InvalidJson:
        return InvalidJson


@SETTINGS
@given(st.binary(max_size=300))
@example(b"\xed\xa0\x80")
@example(b"\xff\xfe[\x00]\x00")
@example(b'"\\')
def test_whatever_bytes_come_there_is_a_value_or_bad_json(body: bytes) -> None:
    _judge(body)


@SETTINGS
@given(st.lists(st.sampled_from(_WORDS), max_size=40).map("".join))
@example("[" * 33)
@example('{"a":1,"a":1}')
@example('{"\\u0061":1,"a":1}')
@example("[-0, -0.0, 1e-999]")
@example("[" * 5_000 + "]" * 5_000)
def test_whatever_almost_json_comes_there_is_a_value_or_bad_json(text: str) -> None:
    _judge(text.encode("utf-8", "surrogatepass"))


def _judge(body: bytes) -> None:
    value = _tried(body)
    if value is not InvalidJson:
        assert standard.loads(body.decode()) == value
        assert _keepable(value)


@SETTINGS
@given(values)
def test_every_value_that_can_be_kept_comes_through(value: Any) -> None:
    found = json.strict_loads(standard.dumps(value).encode())

    assert found == value
    assert json.strict_loads(standard.dumps(value, ensure_ascii=False).encode()) == value
    assert json.loads(json.dumps(value)) == value


def _keepable(value: Any, depth: int = 0) -> bool:
    """What Postgres can keep, said once more in other words."""
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
    return depth < MAX_DEPTH and all(_keepable(part, depth + 1) for part in parts)


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
def test_what_cannot_be_kept_is_refused_with_its_pointer(body: bytes, pointer: str) -> None:
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
def test_what_is_not_careful_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(InvalidJson) as error:
        json.strict_loads(body)

    assert error.value.pointer is None
    assert len(str(error.value)) < 200


def test_members_are_counted_by_commas_outside_of_strings() -> None:
    most = b"[" + b"1," * (MAX_MEMBERS - 1) + b"1]"
    commas = b'{"a": "' + b"," * 100_000 + b'", "b": "\\",' + b"," * 100_000 + b'"}'

    assert len(json.strict_loads(most)) == MAX_MEMBERS
    assert len(json.strict_loads(commas)) == 2
    with pytest.raises(InvalidJson, match="more than 5000 members"):
        json.strict_loads(b"[1," + most[1:])


def test_depth_is_counted_by_brackets_outside_of_strings() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    shallow = b'["' + b"[{" * 1_000 + b'", "\\"[[[", "' + b"]" * 1_000 + b'"]'

    assert isinstance(json.strict_loads(deepest), list)
    assert len(json.strict_loads(shallow)) == 3
    assert len(json.strict_loads(b"[" + b"[]," * 1_000 + b"[]]")) == 1_001
    with pytest.raises(InvalidJson, match="deeper than 32"):
        json.strict_loads(b"[" + deepest + b"]")


FLOODS = [b'\\"', b"\\", b'"', b"[", b"]", b"{", b'{"a":', b'"a",', b'"\\', b"[[],", b"9", b"1,"]


# Below 33 brackets and 5,000 commas nothing is counted, so half of the floods begin with more.
_COUNTED = b"[" + b"[]," * 40


@pytest.mark.parametrize("piece", FLOODS)
@pytest.mark.parametrize("start", [b"", b'"', b'{"a": "', _COUNTED, _COUNTED + b'"'])
def test_no_flood_takes_more_than_linear_time(start: bytes, piece: bytes) -> None:
    def cost_s(length: int) -> float:
        body = start + piece * ((length - len(start)) // len(piece))
        return min(_measured(body) for _ in range(2))

    small = cost_s(LARGEST // 8)
    assert small < 0.25
    large = cost_s(LARGEST)

    assert large < 0.5
    assert large < 8 * 3 * small + 0.02


def _measured(body: bytes) -> float:
    began = process_time()
    _tried(body)
    return process_time() - began


def test_whatever_is_logged_can_be_written() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "odd"

    assert json.dumps_lenient({"a": Odd()}) == '{"a":"odd"}'
    assert "odd" in json.dumps_lenient({(1, 2): "dropped", "b": {"c": Odd()}, "d": 2**70})
