"""E-mail addresses that every mail server can deliver to."""

import re

import idna

# RFC 5321, 4.5.3.1: octets of the local part, and of the whole address in a path.
_MAX_LOCAL_LENGTH, MAX_LENGTH = 64, 254
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*", re.ASCII)
# The start of an encoded word (RFC 2047), which header parsers would decode.
_ENCODED_WORD = "=?"


def to_ascii(address: str) -> str:
    """Return the address as mail servers expect it: in ASCII, an international domain encoded.

    Raise ValueError, whose text says what is wrong, for an address that not every mail server can
    deliver to: with a quoted or non-ASCII local part, an IP address or an invalid domain.
    """
    local_part, at_sign, domain = address.rpartition("@")
    if not at_sign or not local_part or not domain:
        raise ValueError("must be a single e-mail address such as office@example.com")
    if not local_part.isascii():
        raise ValueError("must have only ASCII characters before the @")
    if not _LOCAL_PART.fullmatch(local_part) or _ENCODED_WORD in local_part:
        raise ValueError("must be a single e-mail address such as office@example.com")
    if len(local_part) > _MAX_LOCAL_LENGTH:
        raise ValueError(f"must have at most {_MAX_LOCAL_LENGTH} characters before the @")
    ascii_address = f"{local_part}@{_encode_domain(domain)}"
    if len(ascii_address) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters, in ASCII")
    return ascii_address


def _encode_domain(domain: str) -> str:
    """Return the domain's labels as in the DNS (IDNA 2008, mapped as UTS 46 says)."""
    try:
        encoded = idna.encode(domain, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise ValueError("must have a valid domain after the @") from None
    labels = encoded.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or not labels[-1]:
        raise ValueError("must have a full domain after the @, such as example.com")
    return encoded
