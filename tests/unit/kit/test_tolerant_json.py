"""Tests of the parser that ignores faults in members that its caller does not read."""

import json as stdlib_json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vca.kit import json
from vca.kit.json import InvalidJson, RepeatedKey

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "member",
    [
        b'"name":"Jos\xe9"',
        b'"name":"\\ud83d"',
        b'"name":"\\u0000"',
        b'"name":"a\nb"',
        b'"name":"A","name":"B"',
        b'"name":{"a":1,"a":2}',
        b'"score":1e999',
        b'"score":NaN',
        b'"score":' + b"9" * 5_000,
        b'"name":' + b"[" * 500 + b"]" * 500,
        b",".join(b'"m%d":1' % number for number in range(6_000)),
    ],
)
def test_a_fault_in_an_unread_member_does_not_fail(member: bytes) -> None:
    body = b'{"first":"Zo\xc3\xab",%b,"last":7}' % member

    document = json.tolerant_loads(body)

    assert (document["first"], document["last"]) == ("Zoë", 7)


def test_a_repeated_key_has_no_value() -> None:
    document = json.tolerant_loads(b'{"a":"1","b":"2","a":"1"}')

    assert isinstance(document["a"], RepeatedKey)
    assert document["b"] == "2"


def test_an_unreadable_text_is_not_storable() -> None:
    document = json.tolerant_loads(b'{"a":"\xff","b":"\\u0000","c":"\\udc00","d":"\xc3\xab"}')

    assert [json.is_storable(text) for text in document.values()] == [False, False, False, True]


def test_a_huge_number_is_infinite() -> None:
    assert json.tolerant_loads(b'{"a":' + b"9" * 30 + b"}") == {"a": math.inf}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\x00",
        b'{"a":1,}',
        b"{} {}",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"a=b",
        b"[" * 60_000,
        b'{"a":' * 10_000,
    ],
    ids=range(10),
)
def test_a_body_that_is_not_json_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        json.tolerant_loads(body)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(value=VALUES)
def test_values_of_the_strict_parser_are_read_the_same(value: Any) -> None:
    body = stdlib_json.dumps(value).encode()
    try:
        expected = json.strict_loads(body)
    except InvalidJson:
        return

    assert json.tolerant_loads(body) == expected
