"""Convert every error to an RFC 9457 problem document with a stable code."""

from typing import Any

from flask import Flask, Response, g, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from vca.kit import db, json
from vca.kit.errors import DomainError
from vca.observability import log
from vca.telephony.adapter import TelephonyError

_CODES = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    411: "length-required",
    413: "too-large",
    415: "unsupported-media-type",
}
_DETAILS = {
    404: "There is no such resource.",
    405: "The resource does not support this method.",
    413: "The request body is too large.",
}


class CarrierFailed(DomainError):
    """A carrier operation failed."""

    status = 502
    code = "carrier-failed"


def install(app: Flask) -> None:
    """Handle every error of the app, including those raised outside a blueprint."""
    app.register_error_handler(DomainError, _domain_error)
    app.register_error_handler(TelephonyError, _telephony_error)
    app.register_error_handler(HTTPException, _http_error)
    for error_class in (DBAPIError, PoolTimeout):
        app.register_error_handler(error_class, _database_error)
    app.register_error_handler(Exception, _unexpected)


def problem(
    status: int, code: str, title: str, detail: str | None = None, **extra: Any
) -> Response:
    """Return a problem document (RFC 9457). Programs rely on `code`."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": g.get("request_id"),
        **extra,
    }
    members = {name: value for name, value in body.items() if value is not None}
    return Response(json.dumps(members), status, mimetype="application/problem+json")


def _domain_error(error: DomainError) -> Response:
    errors = [field.as_dict() for field in error.errors] or None
    response = problem(
        error.status,
        error.problem_code,
        error.title,
        error.detail,
        errors=errors,
        **error.members,
    )
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status >= 500:
        log.get_logger().warning("request.failed", code=error.problem_code, exc_info=error)
    return response


def _telephony_error(error: TelephonyError) -> Response:
    return _domain_error(CarrierFailed("The carrier did not carry out the operation."))


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400 and error.response is not None:
        return error.get_response()  # type: ignore[return-value] # a redirect is a response
    code = _CODES.get(status, error.name.lower().replace(" ", "-"))
    detail = _DETAILS.get(status, error.description)
    response = problem(status, code, error.name, detail)
    for name, value in error.get_headers(request.environ):
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _database_error(error: Exception) -> Response:
    """Return 503 for an outage or a busy server. Any other database error is our bug."""
    failure = db.failure_for(error)
    if failure is None:
        return _unexpected(error)
    log.get_logger().warning("database.failed", sqlstate=db.sqlstate(error), exc_info=error)
    return _domain_error(failure)


def _unexpected(error: Exception) -> Response:
    """Log an unexpected error with its traceback, and respond without any detail."""
    log.get_logger().error("request.crashed", exc_info=error)
    detail = "An unexpected error occurred. Give the request ID to support."
    return problem(500, "internal-error", "Internal Server Error", detail)
