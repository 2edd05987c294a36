"""The way to Telnyx's REST API: its SDK under a deadline, with our own patience, and its errors.

The SDK is imported when something is asked for the first time: that takes over a second.
"""

import logging
import ssl
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from threading import Lock
from time import monotonic
from typing import Any

from vca.kit.text import sanitize
from vca.telephony.adapter import TelephonyError

API_URL = "https://api.telnyx.com/v2"
# For one request, and for all that one call of the contract asks.
REQUEST_TIMEOUT_S = 2.5
OPERATION_TIMEOUT_S = 8.0
NO_ACCOUNT = "no-account"
_MIN_TIMEOUT_S = 0.05
# The call is over, or there is none of that id.
CALL_ENDED_CODES = frozenset({"90018"})
NOT_FOUND_CODES = frozenset({"10005", "90015"})
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_MAX_TITLE_CHARS = 200


@dataclass(frozen=True)
class ApiSession:
    """What one call of the contract asks, all of it until `ends_at`."""

    client: Any
    deadline: float
    request_timeout_s: float

    def __call__(
        self, request: Callable[..., Any], *args: Any, retry: bool = True, **kwargs: Any
    ) -> Any:
        """The answer; raises TelephonyError.

        `retry`: asked once more if Telnyx did not say no. Commands bear an id by which it does
        none of them twice.
        """
        try:
            return self._send(request, args, kwargs)
        except TelephonyError as error:
            if error.permanent or not retry or error.retry_after_s is not None:
                raise
        return self._send(request, args, kwargs)

    def _send(self, request: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        timeout_s = min(self.request_timeout_s, self.deadline - monotonic())
        if timeout_s < _MIN_TIMEOUT_S:
            raise TelephonyError("Telnyx took too long", permanent=False, ambiguous=True)
        try:
            return request(*args, timeout=timeout_s, **kwargs)
        except _sdk().TelnyxError as error:
            raise _telephony_error(error) from error


class ApiClient:
    """One account's. Shared by threads; without a key whatever is asked is refused."""

    def __init__(
        self, api_key: str, *, base_url: str = "", request_timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url or API_URL
        self._request_timeout_s = request_timeout_s
        self._lock = Lock()
        self._client: Any = None

    def open_session(self) -> ApiSession:
        """For one call of the contract; raises TelephonyError without an account."""
        if not self._api_key:
            raise TelephonyError("no account is configured", permanent=True, code=NO_ACCOUNT)
        with self._lock:
            self._client = self._client or self._create_client()
        return ApiSession(self._client, monotonic() + OPERATION_TIMEOUT_S, self._request_timeout_s)

    def _create_client(self) -> Any:
        http_client = _sdk().DefaultHttpxClient(verify=tls_context())
        weakref.finalize(self, http_client.close)  # the SDK does so for its own only
        # Each is given: what is not, the SDK would take from the environment.
        client = _sdk().Telnyx(
            api_key=self._api_key,
            public_key="",
            client_id="",
            client_secret="",
            base_url=self._base_url,
            max_retries=0,
            http_client=http_client,
        )
        _ = client.calls.actions  # imports as much again, before any deadline runs
        return client


def require_data(response: Any) -> Any:
    """What an answer holds; raises TelephonyError for one that holds nothing."""
    content = getattr(response, "data", None)
    if content is None:
        raise TelephonyError("Telnyx answered nothing", permanent=False, ambiguous=True)
    return content


def page_items(page: Any) -> list[Any]:
    """What a page of a list holds."""
    return list(getattr(page, "data", None) or ())


@cache
def tls_context() -> ssl.SSLContext:
    """Whose certificates are believed: one for all clients, since each takes 50 ms to make."""
    context: ssl.SSLContext = import_module("httpx").create_ssl_context()
    return context


@cache
def _sdk() -> Any:
    # They tell of every request: numbers stand in URLs, and what is said in bodies.
    for name in ("telnyx", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return import_module("telnyx")


def _telephony_error(error: Any) -> TelephonyError:
    status = getattr(error, "status_code", None)
    if status is None or not hasattr(error, "response"):
        # A connection that was never made has asked nothing.
        never_connected = type(error.__cause__).__name__ in (
            "ConnectError",
            "ConnectTimeout",
            "PoolTimeout",
        )
        return TelephonyError(
            "Telnyx does not answer", permanent=False, ambiguous=not never_connected
        )
    code, title = _first_error(getattr(error, "body", None))
    return TelephonyError(
        f"Telnyx answers {status}: {title}" if title else f"Telnyx answers {status}",
        permanent=400 <= status < 500 and status not in _TRANSIENT_STATUSES,
        code=code,
        retry_after_s=_parse_seconds(error.response.headers.get("retry-after", "")),
        ambiguous=status >= 500 or status == 408,
    )


def _first_error(body: Any) -> tuple[str, str]:
    """The first error's code and title: its detail may hold numbers."""
    errors = body.get("errors") if isinstance(body, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    code, title = str(first.get("code") or ""), str(first.get("title") or "")
    return sanitize(code, max_length=32), sanitize(title, max_length=_MAX_TITLE_CHARS)


def _parse_seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
