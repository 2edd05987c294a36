"""The HTTP client for URLs that tenants supply.

It follows no redirects, uses no proxy, no netrc and no cookies, and decompresses nothing: it has no
code for any of them.
"""

import ssl
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from vca.kit.addresses import Address
from vca.kit.deadline import Deadline
from vca.kit.http.errors import RequestForbidden, Unreachable
from vca.kit.http.messages import MAX_BYTES, HttpRequest, HttpResponse
from vca.kit.http.policy import UrlPolicy
from vca.kit.http.pool import StreamPool
from vca.kit.http.resolver import Resolver
from vca.kit.http.urls import ParsedUrl

if TYPE_CHECKING:
    from vca.kit.http.network import GuardedStream

TIMEOUT_S = 15.0
MAX_REQUEST_BYTES = 64 * 1024 * 1024
# A connection is used for requests until it is this old. Then the certificate is verified again.
MAX_CONNECTION_AGE_S = 30.0
# Beyond these, the connections that have been idle longest are closed.
MAX_IDLE_CONNECTIONS = 64
# A server may close a connection a little before the time that it says.
_KEEP_ALIVE_MARGIN_S = 1.0
# Within this time the end of a connection arrives that the server closes after its response.
SETTLE_S = 0.02


class OutgoingClient:
    """Sends requests that the policy allows; thread-safe.

    Each request resolves the name of its host, and checks all of its addresses. It uses an idle
    connection only if that goes to one of these addresses.
    """

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        resolver: Resolver | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._resolver = resolver or Resolver()
        self._tls_context = tls_context
        self._pool = StreamPool(
            max_idle_s=MAX_CONNECTION_AGE_S,
            max_age_s=MAX_CONNECTION_AGE_S,
            max_idle=MAX_IDLE_CONNECTIONS,
            settle_s=SETTLE_S,
        )

    def check(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Check a URL as `request` does, without sending anything.

        Raises RequestForbidden if requests to the URL are not allowed, and Unreachable or
        RequestTimeout if its name cannot be resolved now. It queries DNS, so no transaction may be
        open. `UrlPolicy.parse_url` does not use the network.
        """
        self._resolve(url, Deadline.within_budget(timeout_s))

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        connection_scope: Hashable = None,
        is_repeatable: bool = False,
    ) -> HttpResponse:
        """Send the body with POST; see `request`."""
        return self.request(
            "POST",
            url,
            headers,
            body=body,
            timeout_s=timeout_s,
            connection_scope=connection_scope,
            is_repeatable=is_repeatable,
        )

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes = b"",
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_BYTES,
        connection_scope: Hashable = None,
        is_repeatable: bool = False,
    ) -> HttpResponse:
        """Send a request and read the response within `timeout_s`. No transaction may be open.

        At most `max_bytes` of the response are read. Requests with an equal `connection_scope`,
        for example a tenant's id, use connections again; without one, the connection is closed.
        A request is never sent twice, unless its method is idempotent or `is_repeatable` says that
        the receiver recognises a repeated request by an id.

        Raises RequestForbidden, before any connection is opened. Raises Unreachable and
        RequestTimeout; then the receiver may have processed the request.
        """
        from vca.kit.http import exchange  # on first use: httpcore takes a tenth of a second

        if method == "CONNECT" or len(body) > MAX_REQUEST_BYTES:
            raise RequestForbidden("The method is not allowed, or the body is too large.")
        deadline = Deadline.within_budget(timeout_s)
        target, addresses = self._resolve(url, deadline)
        request = HttpRequest(method, target, headers, body, connection_scope, is_repeatable)
        encoded_request = exchange.encode_request(request)

        def send_on(stream: "GuardedStream") -> HttpResponse:
            response, is_reusable = exchange.exchange(
                encoded_request, stream, deadline, max_bytes=max_bytes
            )
            if is_reusable:
                max_idle_s = response.keep_alive_s - _KEEP_ALIVE_MARGIN_S
                self._pool.put(request.connection_key, stream, max_idle_s=max_idle_s)
            return response

        idle_stream = self._pool.take(request.connection_key, addresses)
        if idle_stream is not None:
            try:
                return send_on(idle_stream)
            except Unreachable:
                if not _may_repeat(request, idle_stream):
                    raise
        return send_on(exchange.connect(request, addresses, deadline, self._tls_context))

    def close(self) -> None:
        """Close the idle connections, and those in use when their exchange ends."""
        self._pool.close()

    def _resolve(self, url: str, deadline: Deadline) -> tuple[ParsedUrl, tuple[Address, ...]]:
        """Return the parsed URL and all of its addresses, the only ones to connect to."""
        target = self._policy.parse_url(url)
        addresses = self._resolver.resolve_allowed(target.host, target.port, self._policy, deadline)
        return target, addresses


def _may_repeat(request: HttpRequest, stream: "GuardedStream") -> bool:
    """Return whether a request that failed on an idle connection may use a new one.

    The server may close an idle connection at the moment of the request. The client cannot know
    then whether the server has processed the request. So it sends the request again only if it had
    sent nothing, or if the request is idempotent. After a timeout there is no time left for that.
    """
    is_stale = not stream.received_bytes
    return is_stale and (request.is_idempotent or not stream.sent_bytes)
