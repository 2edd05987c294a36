"""Parsers of single settings: each takes a text and returns the value, or raises ValueError."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from vca.kit import email_addresses

PLACEHOLDER = "change-me"
_ROLE_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,19}", re.ASCII)
_BUCKET = re.compile(r"//[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_./-]{0,200})?", re.ASCII)
# URL schemes of mail servers and their default ports.
SMTP_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
Counts = tuple[tuple[str, int], ...]  # names with their counts


def string(raw: str) -> str:
    """Accept any text."""
    return raw


def enum(*options: str) -> Callable[[str], str]:
    """Return a parser that accepts one of the options."""

    def parse(raw: str) -> str:
        if raw not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return raw

    return parse


def boolean(raw: str) -> bool:
    """Parse `true` or `false`."""
    if raw.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return raw.lower() == "true"


def regex(pattern: str, description: str) -> Callable[[str], str]:
    """Return a parser that accepts text matching the expression, which `description` explains."""

    def parse(raw: str) -> str:
        if not re.fullmatch(pattern, raw, re.ASCII):
            raise ValueError(f"must be {description}")
        return raw

    return parse


def csv(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of a comma-separated list."""
    return lambda raw: tuple(parse(item.strip()) for item in raw.split(","))


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of an integer from `low` to `high`."""

    def parse(raw: str) -> int:
        if not (raw.isascii() and raw.isdigit() and low <= int(raw[:12]) <= high):
            raise ValueError(f"must be an integer from {low} to {high}")
        return int(raw)

    return parse


def secret(raw: str) -> str:
    """Accept at least 32 characters, or the placeholder, which the production check rejects."""
    if len(raw) < 32 and PLACEHOLDER not in raw:
        raise ValueError("must be at least 32 characters of random text")
    return raw


def secret_list(raw: str) -> tuple[str, ...]:
    """Parse comma-separated secrets."""
    return tuple(secret(item.strip()) for item in raw.split(","))


def name_list(raw: str) -> tuple[str, ...]:
    """Parse comma-separated names of up to 100 characters."""
    names = tuple(item.strip() for item in raw.split(","))
    if not all(0 < len(name) <= 100 for name in names):
        raise ValueError("must be names of up to 100 characters, separated by commas")
    return names


def key_list(raw: str) -> tuple[bytes, ...]:
    """Parse comma-separated base64 keys of 32 bytes."""
    try:
        keys = tuple(base64.b64decode(item.strip(), validate=True) for item in raw.split(","))
    except ValueError:
        raise ValueError("must be base64 keys of 32 bytes, separated by commas") from None
    if any(len(key) != 32 for key in keys):
        raise ValueError("must be base64 keys of 32 bytes, separated by commas")
    return keys


def public_key(raw: str) -> str:
    """Accept an Ed25519 public key: 32 bytes in base64."""
    try:
        key = base64.b64decode(raw, validate=True)
    except ValueError:
        raise ValueError("must be 32 bytes in base64") from None
    if len(key) != 32:
        raise ValueError("must be 32 bytes in base64")
    return raw


def database_url(raw: str) -> str:
    """Parse a PostgreSQL URL, or the folder of the embedded server."""
    scheme, _, rest = raw.partition(":")
    if scheme == "embedded" and rest:
        return raw
    if scheme in ("postgres", "postgresql", "postgresql+psycopg2") and rest.startswith("//"):
        return f"postgresql:{rest}"
    raise ValueError("must be a postgresql:// URL or embedded:<folder>")


def role_prefix(raw: str) -> str:
    """Accept a prefix of database role names."""
    if not _ROLE_PREFIX.fullmatch(raw):
        raise ValueError("must be 1 to 20 characters of a-z, 0-9 and _, starting with a letter")
    return raw


def base_url(raw: str) -> str:
    """Parse an http(s) URL and remove trailing slashes."""
    parts = urlsplit(raw)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an http(s) URL without query or fragment")
    return raw.rstrip("/")


def model_base_url(raw: str) -> str:
    """Parse the base URL of a language model's API, to which VCA appends the path."""
    url = base_url(raw)
    if url.endswith("/chat/completions"):
        raise ValueError("must be the URL before /chat/completions, which VCA appends")
    return url


def model_api_key(raw: str) -> str:
    """Accept the key of a language model's API: a header can only carry printable ASCII."""
    if not (raw.isascii() and raw.isprintable()) or " " in raw:
        raise ValueError("must be printable ASCII without spaces; was it copied with quotes?")
    return raw


@dataclass(frozen=True)
class SecondsByName:
    """A number of seconds, and other numbers for some names."""

    default_s: int
    by_name: tuple[tuple[str, int], ...] = ()

    @property
    def longest_s(self) -> int:
        """The largest of the numbers."""
        return max((self.default_s, *(seconds for _, seconds in self.by_name)))


def seconds_by_name(low: int, high: int) -> Callable[[str], SecondsByName]:
    """Return a parser of one number, followed by `name=number` for some names: `4,qwen3:8b=20`."""
    parse_seconds = integer(low, high)

    def parse(raw: str) -> SecondsByName:
        default_text, *items = (item.strip() for item in raw.split(","))
        pairs = [item.rpartition("=") for item in items]
        if not all(name.strip() for name, _, _ in pairs):
            raise ValueError(
                "must be seconds, optionally followed by ,model=seconds for some models"
            )
        return SecondsByName(
            parse_seconds(default_text),
            tuple((name.strip(), parse_seconds(seconds.strip())) for name, _, seconds in pairs),
        )

    return parse


def counts_by_name(defaults: Counts, high: int) -> Callable[[str], Counts]:
    """Return a parser of `name:count` pairs with these names; a missing name has its default.

    The error names every fault: unknown and repeated names, and counts that are not 1 to `high`.
    """
    parse_count, names = integer(1, high), dict(defaults)

    def parse(raw: str) -> Counts:
        counts, faults = dict[str, int](), list[str]()
        for item in (part.strip() for part in raw.split(",")):
            name, separator, count = (text.strip() for text in item.partition(":"))
            try:
                if not separator:
                    raise ValueError("is not a pair name:number")
                if name not in names:
                    raise ValueError(f"has a name other than {', '.join(names)}")
                if name in counts:
                    raise ValueError("repeats a name")
                counts[name] = parse_count(count)
            except ValueError as error:
                faults.append(f"{item!r} {error}")
        if faults:
            raise ValueError(f"is invalid: {'; '.join(faults)}")
        return tuple({**names, **counts}.items())

    return parse


def store_url(raw: str) -> str:
    """Accept a folder or a bucket."""
    scheme, _, location = raw.partition(":")
    if scheme == "folder" and location:
        return raw
    if scheme == "s3" and _BUCKET.fullmatch(location):
        return raw
    raise ValueError("must be folder:<path> or s3://<bucket>, optionally with /<prefix>")


def smtp_url(raw: str) -> str:
    """Accept the URL of a mail server."""
    parts = urlsplit(raw)  # an invalid port raises ValueError
    usable = parts.hostname and (parts.port is None or parts.port > 0)
    if parts.scheme not in SMTP_PORTS or not usable or parts.path.strip("/") or parts.query:
        raise ValueError("must be an smtp://, smtps:// or smtp+starttls:// URL of a mail server")
    if (parts.username is None) != (parts.password is None):
        raise ValueError("must contain both a user name and a password, or neither")
    if not unquote(raw).isascii():
        raise ValueError("must be ASCII, because SMTP logins are")
    return raw


def email_address(raw: str) -> str:
    """Accept an e-mail address that mail servers can deliver to."""
    email_addresses.to_ascii(raw)
    return raw
