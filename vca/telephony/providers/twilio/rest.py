"""Twilio's REST API: its SDK over an HTTP client with one deadline for each operation.

Importing this module imports the SDK, which takes about a second. Only the adapter imports it, on
first use.
"""

import logging
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.response import Response
from twilio.rest import Client

from vca.kit import json
from vca.kit.backoff import BackOff
from vca.kit.deadline import Deadline
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio import errors
from vca.telephony.providers.twilio.settings import RestTimeouts, TwilioCredentials

MAX_RESPONSE_BYTES = 2 * 1024 * 1024
_POOL_SIZE = 16
_CHUNK_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 2.0
_RETRYABLE_METHODS = ("GET", "DELETE")
# The SDK reads credentials, region and edge from this mapping. If it is empty, the SDK reads the
# process's environment.
_NO_ENVIRONMENT = {"TWILIO_REGION": ""}

# At level DEBUG, urllib3 logs the URL of every request, which contains telephone numbers.
logging.getLogger("urllib3").setLevel(logging.WARNING)


class RestClient:
    """The REST API of one account, shared by threads."""

    def __init__(
        self, credentials: TwilioCredentials, base_url: str, timeouts: RestTimeouts
    ) -> None:
        self._credentials = credentials
        self._base_url = base_url
        self._timeouts = timeouts
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy and no netrc from the environment
        for scheme in ("https://", "http://"):
            self._http.mount(scheme, HTTPAdapter(pool_maxsize=_POOL_SIZE, max_retries=0))

    @contextmanager
    def open_session(self, *, retry_writes: bool = True) -> Iterator["RestSession"]:
        """Open a session for one adapter operation, with one deadline.

        Failures raise TelephonyError. `retry_writes`: requests that change something may be
        repeated. Reads and deletions always may.
        """
        session = RestSession(
            self._http, self._credentials, self._base_url, self._timeouts, retry_writes=retry_writes
        )
        try:
            yield session
        except TwilioRestException as error:
            raise errors.error_response(error.status, error.code, {}) from error
        except TwilioException as error:
            raise errors.unreadable_response() from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


class RestSession:
    """The requests of one operation, with the interface of the SDK's own HTTP client."""

    def __init__(
        self,
        http: requests.Session,
        credentials: TwilioCredentials,
        base_url: str,
        timeouts: RestTimeouts,
        *,
        retry_writes: bool,
    ) -> None:
        self._http = http
        self._credentials = credentials
        self._timeouts = timeouts
        self._retry_writes = retry_writes
        self._deadline = Deadline.after(timeouts.total_s)
        self.client = Client(
            credentials.account_sid,
            credentials.auth_token,
            http_client=self,
            environment=_NO_ENVIRONMENT,
        )
        if base_url:
            self.client.api.base_url = base_url

    def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: Any,
    ) -> Response:
        """Send a request of the SDK, and repeat it if that is safe and may help."""
        options = {"params": params, "data": data, "headers": headers, "auth": auth}
        attempts = (
            self._timeouts.max_attempts if self._retry_writes or method in _RETRYABLE_METHODS else 1
        )
        while True:
            attempts -= 1
            try:
                return self._send_once(method, url, **options)
            except TelephonyError as error:
                if error.permanent or not attempts or not self._wait_before_retry(error):
                    raise

    def download_media(self, path: str, **params: Any) -> Generator[bytes, None, None]:
        """Return a file of the account as a stream; the first chunk has already arrived."""
        url = self.client.api.absolute_url(f"/2010-04-01/Accounts/{self.client.account_sid}/{path}")
        auth = (self._credentials.account_sid, self._credentials.auth_token)
        response = self._open_response("GET", url, params=params, auth=auth)
        chunks = _read_chunks(response)
        first_chunk = next(chunks, b"")
        return _chain_chunks(first_chunk, chunks)

    def _send_once(self, method: str, url: str, **options: Any) -> Response:
        response = self._open_response(method, url, **options)
        body = bytearray()
        for chunk in _read_chunks(response):
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise errors.unreadable_response()
            if not self._deadline.remaining_s:
                raise errors.no_response("the response takes too long", maybe_sent=True)
        text = body.decode(errors="replace")
        if response.status_code != 204 and not _is_object(text):
            raise errors.unreadable_response()
        return Response(response.status_code, text, response.headers)

    def _open_response(self, method: str, url: str, **options: Any) -> requests.Response:
        """Return a success response. The caller must read or close its body."""
        remaining_s = self._deadline.remaining_s
        if not remaining_s:
            raise errors.no_response("the time limit is reached", maybe_sent=False)
        timeout = (
            min(_CONNECT_TIMEOUT_S, remaining_s / 2),
            min(self._timeouts.response_s, remaining_s / 2),
        )
        headers = {**(options.pop("headers", None) or {}), "Accept-Encoding": "identity"}
        with _translate_errors():
            response = self._http.request(
                method,
                url,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                **options,
            )
        if response.status_code not in (200, 201, 204):
            body = b"".join(_read_chunks(response, max_bytes=_CHUNK_BYTES))
            code = errors.parse_code(body.decode(errors="replace"))
            raise errors.error_response(response.status_code, code, response.headers)
        return response

    def _wait_before_retry(self, error: TelephonyError) -> bool:
        """Wait before a retry. Return False if the deadline does not allow one."""
        back_off = BackOff((self._timeouts.retry_pause_s,), jitter=0)
        pause_s = back_off.delay_s(1, at_least_s=error.retry_after_s)
        if pause_s + _CONNECT_TIMEOUT_S / 2 > self._deadline.remaining_s:
            return False
        time.sleep(pause_s)
        return True


def _read_chunks(
    response: requests.Response, *, max_bytes: int | None = None
) -> Generator[bytes, None, None]:
    """Yield the body as it arrives, about `max_bytes` of it. The read timeout limits each wait."""
    size_bytes = 0
    with response, _translate_errors():
        while chunk := response.raw.read1(_CHUNK_BYTES):
            yield chunk
            size_bytes += len(chunk)
            if max_bytes is not None and size_bytes >= max_bytes:
                return


def _chain_chunks(
    first_chunk: bytes, chunks: Generator[bytes, None, None]
) -> Generator[bytes, None, None]:
    try:
        yield first_chunk
        yield from chunks
    finally:
        chunks.close()


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate HTTP errors to TelephonyError.

    Sending raises the errors of requests; reading a streamed body raises those of urllib3.
    """
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise errors.no_response(
            type(error).__name__, maybe_sent=not _never_connected(error)
        ) from error


def _never_connected(error: Exception) -> bool:
    """Return whether there was certainly no connection to send anything on."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    cause = getattr(reason, "reason", reason)
    return isinstance(cause, urllib3.exceptions.NewConnectionError)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
