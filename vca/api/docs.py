"""`/docs`, Swagger UI from our own origin, and `/api/openapi.json`."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import flask_swagger_ui
from flask import Response, current_app

from vca.kit import json
from vca.kit.web import Blueprint, access, pagination

_START_SCRIPT = (
    'SwaggerUIBundle({url: document.body.dataset.spec, dom_id: "#ui", deepLinking: true,'
    " validatorUrl: null, persistAuthorization: false, tryItOutEnabled: true});"
)
_START_SCRIPT_HASH = b64encode(hashlib.sha256(_START_SCRIPT.encode()).digest()).decode()
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:;"
    " style-src 'self';"
    f" script-src 'self' 'sha256-{_START_SCRIPT_HASH}'; frame-ancestors 'none'"
)
_PAGE_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} API</title>
<link rel="icon" href="{assets}/favicon-32x32.png">
<link rel="stylesheet" href="{assets}/swagger-ui.css">
</head>
<body data-spec="{spec}">
<div id="ui"></div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script>{start}</script>
</body>
</html>
"""

blp = Blueprint(
    "docs",
    __name__,
    description="API documentation.",
    static_folder=str(Path(flask_swagger_ui.__file__).parent / "dist"),
    static_url_path="/docs/assets",
)


@blp.route("/docs", methods=["GET"])
@blp.response(200, {"type": "string"}, content_type="text/html")
@access("anyone")
def docs() -> Response:
    """Get the API documentation

    A page on which you can read and try the API in a browser.
    """
    page = _PAGE_TEMPLATE.format(
        name=current_app.config["APP_NAME"],
        assets=pagination.public_url("/docs/assets"),
        spec=pagination.public_url("/api/openapi.json"),
        start=_START_SCRIPT,
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    return response


@blp.route("/api/openapi.json", methods=["GET"])
@blp.response(200, {"type": "object"})
@access("anyone")
def openapi() -> Response:
    """Get the OpenAPI document"""
    document: ServedDocument = current_app.extensions["openapi"]
    return Response(document.render(), mimetype="application/json")


class ServedDocument:
    """The OpenAPI document as it is served, built when it is first needed."""

    def __init__(self, build: Callable[[], object]) -> None:
        self._build = build
        self._lock = Lock()
        self._content: bytes | None = None

    def render(self) -> bytes:
        """Return the document as JSON."""
        with self._lock:
            if self._content is None:
                self._content = json.dumps(self._build())
            return self._content
