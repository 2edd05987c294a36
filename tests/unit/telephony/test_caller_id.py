"""Tests of parsing the caller id that networks transmit."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vca.kit.phone import is_e164
from vca.telephony.caller_id import parse_caller
from vca.telephony.types import Caller


@pytest.mark.parametrize(
    "raw",
    [
        "+14155550123",
        " +14155550123\n",
        "sip:+14155550123@pbx.example.com",
        "SIPS:+14155550123@pbx.example.com",
        "+14155550123@host",
        "tel:+14155550123",
    ],
)
def test_a_transmitted_number_is_shown(raw: str) -> None:
    assert parse_caller(raw) == Caller("+14155550123", "shown")


@pytest.mark.parametrize(
    "raw",
    [
        "anonymous",
        "Anonymous",
        "ANONYMOUS",
        " anonymous ",
        "sip:anonymous@anonymous.invalid",
        "SIP:Anonymous@Anonymous.invalid",
        "sips:anonymous@anonymous.invalid",
        "Restricted",
        "private",
        "withheld",
        "blocked",
        "+266696687",
    ],
)
def test_a_hidden_caller_id_is_withheld(raw: str) -> None:
    assert parse_caller(raw) == Caller(None, "withheld")


@pytest.mark.parametrize(
    "raw",
    [None, "", "  ", "unknown", "Unavailable", "not available", "+7378742833", "+86282452253"],
)
def test_an_unknown_caller_id_is_unavailable(raw: str | None) -> None:
    assert parse_caller(raw) == Caller(None, "unavailable")


@pytest.mark.parametrize(
    "raw",
    [
        "110",
        "4155550123",
        "+0123456789",
        "+1",
        "+1234567890123456",
        "+1415555012\u0663",
        "+14155550123;ext=7",
        "reception",
        "sip:reception@pbx.example.com",
        "sip:",
        "@",
        "☎",
        "\x00",
        "\ud800",
        "x" * 100_000,
    ],
)
def test_an_unusual_caller_id_has_no_number_and_raises_nothing(raw: str) -> None:
    assert parse_caller(raw).number is None
    assert parse_caller(raw).caller_id in ("other", "unavailable")


@given(raw=st.none() | st.text(st.characters(codec=None)))
@example("sip:sip:+14155550123@@")
@example("+14155550123\x00")
def test_any_text_is_parsed_and_a_number_is_always_e164(raw: str | None) -> None:
    caller = parse_caller(raw)

    assert (caller.number is not None) == (caller.caller_id == "shown")
    assert caller.number is None or is_e164(caller.number)
