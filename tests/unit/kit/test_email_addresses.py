"""Tests of e-mail addresses: which ones can be mailed, and how mail servers expect them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vca.kit import email_addresses


@pytest.mark.parametrize(
    ("address", "ascii_address"),
    [
        ("office@example.com", "office@example.com"),
        ("o'neil+x_{a}/b=c@sub.example.co.uk", "o'neil+x_{a}/b=c@sub.example.co.uk"),
        ("Office@EXAMPLE.com", "Office@example.com"),
        ("info@münchen.de", "info@xn--mnchen-3ya.de"),
        ("info@mu\u0308nchen.de", "info@xn--mnchen-3ya.de"),
        ("info@xn--mnchen-3ya.de", "info@xn--mnchen-3ya.de"),
        ("x@straße.de", "x@xn--strae-oqa.de"),
        ("x@例え。テスト", "x@xn--r8jz45g.xn--zckzah"),
        ("x@почта.рф", "x@xn--80a1acny.xn--p1ai"),
        ("a" * 64 + "@example.com", "a" * 64 + "@example.com"),
    ],
)
def test_an_address_is_written_in_ascii(address: str, ascii_address: str) -> None:
    assert email_addresses.to_ascii(address) == ascii_address
    assert email_addresses.to_ascii(ascii_address) == ascii_address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "office",
        "@example.com",
        "office@",
        "a@b@example.com",
        "a@example.com, b@example.com",
        "a@example.com\nBcc: b@example.com",
        "a@example.com\n",
        " a@example.com",
        "büro@example.com",
        "a\u200b@example.com",
        '"a b"@example.com',
        "a b@example.com",
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "(a)@example.com",
        "<a@example.com>",
        "=?utf-8?q?a?=@example.com",
        "a@localhost",
        "a@münchen",
        "a@example.com.",
        "a@example..com",
        "a@-example.com",
        "a@exa_mple.com",
        "a@exam ple.com",
        "a@[192.0.2.1]",
        "a@192.0.2.1",
        "a@💩.example",
        "a@xn--zz.example",
        "a@" + "x" * 64 + ".example",
        "a@" + "ü" * 60 + ".example",
        "a" * 65 + "@example.com",
        "a@" + ".".join(["x" * 60] * 5) + ".com",
    ],
)
def test_an_address_that_cannot_be_mailed_is_rejected(address: str) -> None:
    with pytest.raises(ValueError, match=r"^must .*[^.]$"):
        email_addresses.to_ascii(address)


@given(st.text(max_size=300))
def test_any_other_text_is_written_in_ascii_or_rejected(text: str) -> None:
    for address in (text, f"a@{text}", f"{text}@example.com"):
        with suppress(ValueError):
            ascii_address = email_addresses.to_ascii(address)
            assert ascii_address.isascii()
            assert len(ascii_address) <= email_addresses.MAX_LENGTH
