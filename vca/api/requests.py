"""Handle what every request has: its id, body limit, security headers, metrics and log line."""

import re
from time import perf_counter
from uuid import uuid4

from flask import Flask, Request, Response, current_app, g, request
from flask.sessions import SessionInterface
from structlog.contextvars import bind_contextvars, clear_contextvars
from typing_extensions import override

from vca.observability import log, metrics

MAX_BODY = 256 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
# Browsers ignore it on plain HTTP, and the base URL of production is always https. It holds for
# this host only, because its other subdomains are not VCA's.
_HSTS = "max-age=31536000"
# The token in the path of a voice WebSocket opens it.
_RELAY_TOKEN = re.compile(r"(?<=/relay/).+")
_JSON_TYPES = ("application/json", "application/problem+json")


class NoSessions(SessionInterface):
    """No cookies are read or set, because API keys authenticate every request."""

    @override
    def open_session(self, app: Flask, request: Request) -> None:
        return None


def install(app: Flask, *, uses_https: bool) -> None:
    """Install the hooks for every request of the app, including errors and unknown paths.

    With `uses_https`, responses instruct browsers to use nothing else for this host.
    """
    app.config["SECURITY_HEADERS"] = {
        **_SECURITY_HEADERS,
        **({"Strict-Transport-Security": _HSTS} if uses_https else {}),
    }
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.url_map.merge_slashes = False  # it redirects to the host in the Host header
    app.session_interface = NoSessions()
    app.before_request(_before_request)
    app.after_request(_after_request)


def _before_request() -> None:
    g.began = perf_counter()
    client_request_id = request.headers.get("X-Request-Id", "")
    g.request_id = client_request_id if _REQUEST_ID.fullmatch(client_request_id) else uuid4().hex
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _after_request(response: Response) -> Response:
    finished_request: Request = request._get_current_object()  # type: ignore[attr-defined] # the proxy's own
    response.headers["X-Request-Id"] = g.request_id
    security_headers: dict[str, str] = current_app.config["SECURITY_HEADERS"]
    if response.mimetype in _JSON_TYPES:
        response.headers.extend(security_headers)
    else:  # a page or a file may have set some itself
        for name, value in security_headers.items():
            response.headers.setdefault(name, value)
    duration_s = perf_counter() - g.began
    if (
        finished_request.url_rule is None or not finished_request.url_rule.websocket
    ):  # a WebSocket lasts as long as its call
        status_class = f"{response.status_code // 100}xx"
        metrics.HTTP_REQUESTS.inc(method=finished_request.method, status_class=status_class)
        metrics.HTTP_REQUEST_SECONDS.observe(duration_s)
    log.get_logger().info(
        "request",
        method=finished_request.method,
        path=_RELAY_TOKEN.sub("…", finished_request.path),
        status=response.status_code,
        ms=round(duration_s * 1000, 1),
    )
    return response
