"""A request to a URL of a tenant, and its response."""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import inf

from vca.kit.http.urls import ParsedUrl

MAX_BYTES = 64 * 1024
# RFC 9110, 9.2.2: a request that is sent twice has the same effect as one that is sent once.
_IDEMPOTENT_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_KEEP_ALIVE_TIMEOUT = re.compile(r"(?:^|[,;\s])timeout\s*=\s*([0-9]{1,9})(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class HttpRequest:
    """A request to a parsed URL.

    `is_repeatable`: the receiver recognises a repeated request, by an id that the request has.

    `connection_scope`, for example a tenant's id, names those who share connections. A request
    without one uses a connection of its own.
    """

    method: str
    target: ParsedUrl
    headers: Mapping[str, str]
    body: bytes
    connection_scope: Hashable = None
    is_repeatable: bool = False

    @property
    def keeps_connection(self) -> bool:
        """Whether later requests may use the connection of this one."""
        return self.connection_scope is not None

    @property
    def connection_key(self) -> Hashable:
        """What the connections that the request may use have in common."""
        return self.connection_scope, self.target.scheme, self.target.host, self.target.port

    @property
    def is_idempotent(self) -> bool:
        """Whether the request may be sent again although the server may have processed it."""
        return self.is_repeatable or self.method in _IDEMPOTENT_METHODS

    @property
    def has_body(self) -> bool:
        """Whether the request has a body, even if it is empty."""
        return bool(self.body) or self.method not in _METHODS_WITHOUT_BODY


@dataclass(frozen=True)
class HttpResponse:
    """A response, also a redirect; header names are in lower case.

    `complete` is false if the body was cut off: a limited number of bytes is read, header included.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True

    @property
    def keep_alive_s(self) -> float:
        """How long the server keeps the connection open; infinite if it does not say so."""
        match = _KEEP_ALIVE_TIMEOUT.search(self.headers.get("keep-alive", ""))
        return float(match[1]) if match else inf
