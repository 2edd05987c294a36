"""Tests of parsing the caller id that networks transmit."""

from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vca.kit.phone import is_e164
from vca.telephony.caller_id import called_number, parse_caller, parse_number
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
        "tel:+1-415-555-0123",
        "tel:+1(415)555.0123",
        "tel:555-0123;phone-context=+1-415",
        "sip:+14155550123;npdi=yes@pbx.example.com:5060;transport=udp",
        "sip:+14155550123:secret@pbx.example.com",
        "sip:%2B14155550123@pbx.example.com",
        "sip:14155550123@pbx.example.com",
        "sip:4155550123@pbx.example.com;transport=tls",
        "<sip:+14155550123@pbx.example.com>;tag=1",
        "Jane <sip:+14155550123@pbx.example.com>",
        '"Jane <3 <j@example.com>" <sip:+14155550123@pbx.example.com>',
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
        "sip:+266696687@pbx.example.com",
        "sip:266696687@pbx.example.com",
        "sip:%61nonymous@anonymous.invalid",
        '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1',
        "Anonymous <sip:+14155550123@pbx.example.com>",
    ],
)
def test_a_hidden_caller_id_is_withheld(raw: str) -> None:
    assert parse_caller(raw) == Caller(None, "withheld")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        "  ",
        "unknown",
        "Unavailable",
        "not available",
        "+7378742833",
        "+86282452253",
        "sip:unknown@unknown.invalid",
        "sip:7378742833@pbx.example.com",
        "sip:@pbx.example.com",
    ],
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
        "sip:1001@pbx.example.com",
        "sip:2071234567@pbx.example.com;phone-context=example.com",
        "tel:2071234567;phone-context=example.com",
        "tel:911",
        "sip:0014155550123@pbx.example.com",
        "sip:\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0662\u0663@pbx.example.com",
        "sip:+14155550123%00@pbx.example.com",
        "sip:sip:+14155550123@pbx.example.com",
        "sip:reception@+14155550123",
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


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("442071234567", "+442071234567"),
        ("14155550123", "+14155550123"),
        ("4155550123", "+14155550123"),
        ("19245550123", "+19245550123"),  # an area code that libphonenumber does not know
        ("9245550123", "+19245550123"),
        ("6562345678", None),  # +65 6234 5678 in Singapore, or +1 656 234 5678 in Florida
        ("2075550123", "+12075550123"),
        ("0711234567", None),
        ("12345", None),
    ],
)
def test_digits_in_a_uri_are_a_number_if_they_can_be_only_one(
    digits: str, number: str | None
) -> None:
    assert parse_number(f"sip:{digits}@example.sip.twilio.com") == number
    assert parse_number(digits) is None


@pytest.mark.parametrize("fragment", ["<", "<>", ">", ";phone-context=+", "sip:", "%", "@"])
def test_long_texts_are_parsed_quickly(fragment: str) -> None:
    started_at = process_time()

    parse_caller("sip:" + fragment * 20_000)
    parse_caller("<sip:1" + fragment * 20_000 + ">")

    assert process_time() - started_at < 0.5


def test_a_called_text_without_a_number_is_cut() -> None:
    assert called_number("sip:+14155550123@example.com") == "+14155550123"
    assert called_number("sip:reception@example.com") == "sip:reception@example.com"
    assert called_number("x" * 300) == "x" * 64
