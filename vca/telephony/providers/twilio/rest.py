"""What is asked of Twilio's REST API: its SDK, over a client that keeps to one deadline.

Importing this imports the SDK, which takes about a second; only the adapter does, on first use.
"""

import logging
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.response import Response
from twilio.rest import Client

from vca.kit import json
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio import errors
from vca.telephony.providers.twilio.settings import Login, Patience

MAX_ANSWER = 2 * 1024 * 1024
_CONNECTIONS = 16
_PIECE = 64 * 1024
_CONNECT_S = 2.0
_SAFE = ("GET", "DELETE")
# The SDK looks for credentials, region and edge where it is told to; told nothing, it asks the
# process's environment.
_NO_ENVIRONMENT = {"TWILIO_REGION": ""}

# At the level DEBUG this writes the address of every request, with the telephone numbers in it.
logging.getLogger("urllib3").setLevel(logging.WARNING)


class Rest:
    """The API as one account, shared by threads."""

    def __init__(self, login: Login, base_url: str, patience: Patience) -> None:
        self._login = login
        self._base_url = base_url
        self._patience = patience
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no netrc by the environment
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=0))

    @contextmanager
    def asking(self, *, again: bool = True) -> Iterator["Asking"]:
        """One question to the adapter; all in it has one deadline, and fails as TelephonyError.

        `again`: what is changed may be changed twice. What is read or deleted always may.
        """
        asking = Asking(self._session, self._login, self._base_url, self._patience, again=again)
        try:
            yield asking
        except TwilioRestException as error:
            raise errors.refused(error.status, error.code, {}) from error
        except TwilioException as error:
            raise errors.unreadable() from error

    def close(self) -> None:
        """Close all connections."""
        self._session.close()


class Asking:
    """The requests of one question, in the shape of the SDK's own HTTP client."""

    def __init__(
        self,
        session: requests.Session,
        login: Login,
        base_url: str,
        patience: Patience,
        *,
        again: bool,
    ) -> None:
        self._session = session
        self._login = login
        self._patience = patience
        self._again = again
        self._ends_at = monotonic() + patience.total_s
        self.client = Client(
            login.account_sid, login.auth_token, http_client=self, environment=_NO_ENVIRONMENT
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
        """What the SDK wants sent, and sent again if that is safe and may help."""
        sent = {"params": params, "data": data, "headers": headers, "auth": auth}
        attempts = self._patience.attempts if self._again or method in _SAFE else 1
        while True:
            attempts -= 1
            try:
                return self._exchange(method, url, **sent)
            except TelephonyError as error:
                if error.permanent or not attempts or not self._waited(error):
                    raise

    def media(self, path: str, **params: Any) -> Generator[bytes, None, None]:
        """A file of the account's as it comes, after its first piece has come."""
        url = self.client.api.absolute_url(f"/2010-04-01/Accounts/{self.client.account_sid}/{path}")
        auth = (self._login.account_sid, self._login.auth_token)
        answer = self._opened("GET", url, params=params, auth=auth)
        pieces = _pieces(answer)
        first = next(pieces, b"")
        return _after(first, pieces)

    def _exchange(self, method: str, url: str, **sent: Any) -> Response:
        answer = self._opened(method, url, **sent)
        body = bytearray()
        for piece in _pieces(answer):
            body += piece
            if len(body) > MAX_ANSWER:
                raise errors.unreadable()
            if monotonic() > self._ends_at:
                raise errors.unanswered("the answer takes too long", sent=True)
        text = body.decode(errors="replace")
        if answer.status_code != 204 and not _is_object(text):
            raise errors.unreadable()
        return Response(answer.status_code, text, answer.headers)

    def _opened(self, method: str, url: str, **sent: Any) -> requests.Response:
        """An answer of success, its body still to be read; whoever has it reads or closes it."""
        left_s = self._ends_at - monotonic()
        if left_s <= 0:
            raise errors.unanswered("no time is left", sent=False)
        timeout = (min(_CONNECT_S, left_s / 2), min(self._patience.answer_s, left_s / 2))
        headers = {**(sent.pop("headers", None) or {}), "Accept-Encoding": "identity"}
        with _failing():
            answer = self._session.request(
                method,
                url,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                **sent,
            )
        if answer.status_code not in (200, 201, 204):
            body = b"".join(_pieces(answer, most=_PIECE))
            code = errors.code_of(body.decode(errors="replace"))
            raise errors.refused(answer.status_code, code, answer.headers)
        return answer

    def _waited(self, error: TelephonyError) -> bool:
        """Wait before a repetition; False where the time does not allow one."""
        pause_s = error.retry_after_s or self._patience.pause_s
        if monotonic() + pause_s + _CONNECT_S / 2 > self._ends_at:
            return False
        time.sleep(pause_s)
        return True


def _pieces(answer: requests.Response, *, most: int | None = None) -> Generator[bytes, None, None]:
    """The body as it comes, about `most` bytes of it; the connection bounds each wait."""
    size = 0
    with answer, _failing():
        while piece := answer.raw.read1(_PIECE):
            yield piece
            size += len(piece)
            if most is not None and size >= most:
                return


def _after(first: bytes, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    try:
        yield first
        yield from pieces
    finally:
        pieces.close()


@contextmanager
def _failing() -> Iterator[None]:
    """Two families fail here: what sends, and what reads a body under it."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise errors.unanswered(type(error).__name__, sent=not _unsent(error)) from error


def _unsent(error: Exception) -> bool:
    """Whether there was certainly no connection to send anything on."""
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
