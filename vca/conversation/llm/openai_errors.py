"""What the failures of a request to an OpenAI-compatible server mean."""

import re
import ssl
from typing import Any

import httpx2
import openai

from vca.conversation.llm import ModelError, ModelFailure
from vca.conversation.llm.transport import NameNotResolved
from vca.conversation.llm.transport_decoding import ResponseTooLong

# What a server can make the SDK and the transport raise: their own errors, and those of reading a
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
_ERROR_STATUS = re.compile(r"[45][0-9]{2}")
_ERROR_CODE = re.compile(r"(?!(none|null)$)(?=.*[a-z])[a-z0-9_]{1,40}")


def to_model_error(error: Exception, api_key: str) -> ModelError:
    """Return the ModelError for an error of the SDK or the transport."""
    cause = error.__cause__
    if isinstance(error, ResponseTooLong) or isinstance(cause, ResponseTooLong):
        return ModelError("The model server's answer is too long.", failure="bad_answer")
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelError("The model server did not respond in time.", failure="timeout")
    if isinstance(error, openai.APIStatusError):
        return status_error(error.status_code, _safe_code((error.code, error.type), api_key))
    if isinstance(error, httpx2.DecodingError) or isinstance(cause, httpx2.DecodingError):
        return _unknown_format_error()
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | httpx2.StreamError):
        return ModelError(
            "The model server is unreachable, or the connection was lost.",
            failure="unavailable",
            server_code=_connection_code(error),
        )
    return _unknown_format_error()


def reported_error(error: object, api_key: str) -> ModelError:
    """Return the ModelError for an error that the server reported in a response of status 200."""
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    values = (fields.get("code"), fields.get("type"), fields.get("status"))
    code = _safe_code(values, api_key)
    for value in values:
        if _ERROR_STATUS.fullmatch(str(value)):
            return status_error(int(str(value)), code)
    return ModelError(
        f"The model server ended the answer with an error{code and f' ({code})'}.",
        failure="rate_limited" if "rate_limit" in code else "unavailable",
        server_code=code or None,
    )


def status_error(status: int, code: str) -> ModelError:
    """Return the ModelError for an error status."""
    failure, permanent = _classify_status(status, code)
    return ModelError(
        f"The model server responded with status {status}{code and f' ({code})'}.",
        failure=failure,
        permanent=permanent,
        server_status=status,
        server_code=code or None,
    )


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


def _safe_code(codes: tuple[object, ...], api_key: str) -> str:
    """Return the server's error code if it looks like one; free text might contain a secret."""
    key = api_key.lower()
    texts = (str(code).lower() for code in codes if code)
    well_formed = (code for code in texts if _ERROR_CODE.fullmatch(code))
    return next((code for code in well_formed if code not in key and key not in code), "")
