"""Telnyx's REST API: its SDK with our own deadline, retries and errors.

The first operation imports the SDK, because the import takes over a second.
"""

import logging
import ssl
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from vca.kit.backoff import parse_retry_after_s
from vca.kit.deadline import Deadline
from vca.kit.text import sanitize
from vca.telephony.adapter import TelephonyError

API_URL = "https://api.telnyx.com/v2"
# For one request.
REQUEST_TIMEOUT_S = 2.5
# For all requests of one adapter operation.
OPERATION_TIMEOUT_S = 8.0
NO_ACCOUNT = "no-account"
_MIN_TIMEOUT_S = 0.05
# The call has ended.
CALL_ENDED_CODES = frozenset({"90018"})
# There is no call, or other resource, with that id.
NOT_FOUND_CODES = frozenset({"10005", "90015"})
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_MAX_TITLE_CHARS = 200
_MAX_RETRY_AFTER_S = 86_400


@dataclass(frozen=True)
class ApiSession:
    """The requests of one adapter operation, all of them before `deadline`."""

    client: Any
    deadline: Deadline
    request_timeout_s: float

    def __call__(
        self, request: Callable[..., Any], *args: Any, retry: bool = True, **kwargs: Any
    ) -> Any:
        """Return the response to a request. Raises TelephonyError.

        `retry`: repeat the request once if Telnyx did not reject it. Commands have an id, by which
        Telnyx executes none of them twice.
        """
        try:
            return self._send(request, args, kwargs)
        except TelephonyError as error:
            if error.permanent or not retry or error.retry_after_s is not None:
                raise
        return self._send(request, args, kwargs)

    def _send(self, request: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        timeout_s = min(self.request_timeout_s, self.deadline.remaining_s)
        if timeout_s < _MIN_TIMEOUT_S:
            raise TelephonyError("Telnyx did not respond in time", permanent=False, ambiguous=True)
        try:
            return request(*args, timeout=timeout_s, **kwargs)
        except _sdk().TelnyxError as error:
            raise _telephony_error(error) from error


class ApiClient:
    """The API of one account, shared by threads. Without a key every operation fails."""

    def __init__(
        self, api_key: str, *, base_url: str = "", request_timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url or API_URL
        self._request_timeout_s = request_timeout_s
        self._lock = Lock()
        self._client: Any = None

    def open_session(self) -> ApiSession:
        """Open a session for one adapter operation. Raises TelephonyError without an account."""
        if not self._api_key:
            raise TelephonyError("no account is configured", permanent=True, code=NO_ACCOUNT)
        with self._lock:
            self._client = self._client or self._create_client()
        return ApiSession(
            self._client, Deadline.after(OPERATION_TIMEOUT_S), self._request_timeout_s
        )

    def _create_client(self) -> Any:
        http_client = _sdk().DefaultHttpxClient(verify=tls_context())
        weakref.finalize(self, http_client.close)  # the SDK only closes a client of its own
        # All of these are given, because the SDK reads missing ones from the environment.
        client = _sdk().Telnyx(
            api_key=self._api_key,
            public_key="",
            client_id="",
            client_secret="",
            base_url=self._base_url,
            max_retries=0,
            http_client=http_client,
        )
        _ = client.calls.actions  # as slow an import again, so before any deadline
        return client


def require_data(response: Any) -> Any:
    """Return the content of a response. Raises TelephonyError if it has none."""
    content = getattr(response, "data", None)
    if content is None:
        raise TelephonyError("Telnyx returned an empty response", permanent=False, ambiguous=True)
    return content


def page_items(page: Any) -> list[Any]:
    """Return the items of a page of a list."""
    return list(getattr(page, "data", None) or ())


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context, shared by all clients because creating one takes 50 ms."""
    context: ssl.SSLContext = import_module("httpx").create_ssl_context()
    return context


@cache
def _sdk() -> Any:
    # They log every request: URLs contain numbers, and bodies contain what is said.
    for name in ("telnyx", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return import_module("telnyx")


def _telephony_error(error: Any) -> TelephonyError:
    status = getattr(error, "status_code", None)
    if status is None or not hasattr(error, "response"):
        # If there was never a connection, nothing was requested.
        never_connected = type(error.__cause__).__name__ in (
            "ConnectError",
            "ConnectTimeout",
            "PoolTimeout",
        )
        return TelephonyError(
            "Telnyx does not respond", permanent=False, ambiguous=not never_connected
        )
    code, title = _first_error(getattr(error, "body", None))
    return TelephonyError(
        f"Telnyx returned {status}: {title}" if title else f"Telnyx returned {status}",
        permanent=400 <= status < 500 and status not in _TRANSIENT_STATUSES,
        code=code,
        retry_after_s=parse_retry_after_s(
            error.response.headers.get("retry-after"), max_s=_MAX_RETRY_AFTER_S
        ),
        ambiguous=status >= 500 or status == 408,
    )


def _first_error(body: Any) -> tuple[str, str]:
    """Return the first error's code and title. Its detail may contain telephone numbers."""
    errors = body.get("errors") if isinstance(body, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    code, title = str(first.get("code") or ""), str(first.get("title") or "")
    return sanitize(code, max_length=32), sanitize(title, max_length=_MAX_TITLE_CHARS)
