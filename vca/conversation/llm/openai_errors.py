"""What the failures of a request to an OpenAI-compatible server mean."""

import re
import ssl
from collections.abc import Iterable

import httpx2
import openai

from vca.conversation.llm import ModelError, ModelFailure
from vca.conversation.llm.message_redaction import redact_message, remove_quotes
from vca.conversation.llm.model_support import Rejection
from vca.conversation.llm.transport_decoding import ResponseTooLong
from vca.kit import json
from vca.kit.backoff import parse_retry_after_s
from vca.kit.http.errors import NameNotResolved

# Errors that a server can cause: those of the SDK and the transport, and those of reading a
# response of an unexpected shape.
REQUEST_ERRORS = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)

# The first class that occurs in an error's chain of causes determines the code.
_CONNECTION_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (NameNotResolved, "name_not_resolved"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connection_refused"),
    (httpx2.ConnectError, "connect_failed"),
)
# Google calls the code `status`, and what it calls `code` is a number.
_CODE_FIELDS = ("code", "type", "status")
_MAX_RETRY_AFTER_S = 86_400
_ERROR_STATUS = re.compile(r"[45][0-9]{2}")
_ERROR_CODE = re.compile(r"(?!(none|null)$)(?=.*[a-z])[a-z0-9_]{1,40}")


class ErrorTranslator:
    """Translates the errors of one endpoint.

    `api_key` and the texts of a request never occur in what it returns.
    """

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def translate(self, error: Exception, request_texts: Iterable[str]) -> ModelError:
        """Return the ModelError for an error of the SDK or the transport."""
        cause = error.__cause__
        if isinstance(error, ResponseTooLong) or isinstance(cause, ResponseTooLong):
            return ModelError("The model server's answer is too long.", failure="bad_answer")
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
            return ModelError("The model server did not respond in time.", failure="timeout")
        if isinstance(error, openai.APIStatusError):
            return self._status_error(
                error.status_code,
                self._safe_code(_codes(error.body)),
                self._safe_message(error.body, request_texts),
                parse_retry_after_s(
                    error.response.headers.get("retry-after"), max_s=_MAX_RETRY_AFTER_S
                ),
            )
        if isinstance(error, httpx2.DecodingError) or isinstance(cause, httpx2.DecodingError):
            return _unknown_format_error()
        if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | httpx2.StreamError):
            return ModelError(
                "The model server is unreachable, or the connection was lost.",
                failure="unavailable",
                server_code=_connection_code(error),
            )
        return _unknown_format_error()

    def translate_reported(self, error: object, request_texts: Iterable[str]) -> ModelError:
        """Return the ModelError for an error that was reported in a response of status 200."""
        values = _codes(error)
        code = self._safe_code(values)
        message = self._safe_message(error, request_texts)
        for value in values:
            if _ERROR_STATUS.fullmatch(str(value)):
                return self._status_error(int(str(value)), code, message, None)
        return ModelError(
            f"The model server ended the answer with an error{code and f' ({code})'}.",
            failure="rate_limited" if "rate_limit" in code else "unavailable",
            server_code=code or None,
            server_message=message,
        )

    def rejection(self, error: openai.APIStatusError, request_texts: Iterable[str]) -> Rejection:
        """Return an error response as far as it can name a part of the request."""
        return Rejection(
            error.status_code,
            str(error.code or ""),
            error.param if isinstance(error.param, str) else "",
            remove_quotes(_message_text(error.body), request_texts),
        )

    def _safe_message(self, body: object, request_texts: Iterable[str]) -> str | None:
        return redact_message(_message_text(body), [self._api_key, *request_texts]) or None

    def _status_error(
        self, status: int, code: str, message: str | None, retry_after_s: float | None
    ) -> ModelError:
        failure, permanent = _classify_status(status, code)
        return ModelError(
            f"The model server responded with status {status}{code and f' ({code})'}.",
            failure=failure,
            permanent=permanent,
            server_status=status,
            server_code=code or None,
            server_message=message,
            server_retry_after_s=retry_after_s,
        )

    def _safe_code(self, codes: Iterable[object]) -> str:
        """Return the server's code if it looks like one; free text might contain a secret."""
        key = self._api_key.lower()
        texts = (str(code).lower() for code in codes if code)
        well_formed = (code for code in texts if _ERROR_CODE.fullmatch(code))
        return next((code for code in well_formed if code not in key and key not in code), "")


def status_error(response: httpx2.Response) -> openai.APIStatusError:
    """Return the SDK's error for a response, which has been read, with an error status."""
    try:
        body = json.loads_tolerant(response.content)
    except json.InvalidJson:
        body = response.text
    if isinstance(body, list) and body:
        body = body[0]  # Google's form, also with a single error
    if isinstance(body, dict):
        body = body.get("error") or body
    return openai.APIStatusError(f"status {response.status_code}", response=response, body=body)


def _codes(body: object) -> list[object]:
    """Return what an error body may have as its code."""
    return [body.get(name) for name in _CODE_FIELDS] if isinstance(body, dict) else []


def _message_text(body: object) -> str:
    """Return the message in an error body; a validator's messages with the fields they concern."""
    if isinstance(body, str):
        return body
    if not isinstance(body, dict):
        return ""
    for name in ("message", "error", "detail"):
        value = body.get(name)
        if isinstance(value, dict):
            return _message_text(value)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list):
            return "; ".join(
                f"{item.get('loc')}: {item.get('msg')}" for item in value if isinstance(item, dict)
            )
    return ""


def _classify_status(status: int, code: str) -> tuple[ModelFailure, bool]:
    """Return the kind of failure, and whether the same request would fail again."""
    if status == 429:
        # A used-up quota has the same status as a short rate limit, but waiting does not help.
        return "rate_limited", code == "insufficient_quota"
    if status in (408, 504):
        return "timeout", False
    if status >= 500 or status == 409:
        return "unavailable", False
    return "refused", True


def _unknown_format_error() -> ModelError:
    return ModelError(
        "The model server sent a response of an unknown format.", failure="bad_answer"
    )


def _connection_code(error: BaseException) -> str:
    """Return a short code for what went wrong with the connection."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for error_class, code in _CONNECTION_CODES:
        if any(isinstance(link, error_class) for link in chain):
            return code
    return "connection_lost"
