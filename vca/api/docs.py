"""`/docs`, Swagger UI from our own origin, and `/api/openapi.json`."""

import hashlib
from base64 import b64encode
from pathlib import Path

import flask_swagger_ui
from flask import Response, current_app

from vca.kit import json
from vca.kit.web import Blueprint, access, pages

_START = (
    'SwaggerUIBundle({url: document.body.dataset.spec, dom_id: "#ui", deepLinking: true,'
    " validatorUrl: null, persistAuthorization: false, tryItOutEnabled: true});"
)
_HASH = b64encode(hashlib.sha256(_START.encode()).digest()).decode()
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline';"
    f" script-src 'self' 'sha256-{_HASH}'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
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
    description="This document.",
    static_folder=str(Path(flask_swagger_ui.__file__).parent / "dist"),
    static_url_path="/docs/assets",
)


@blp.route("/docs", methods=["GET"])
@blp.response(200, {"type": "string"}, content_type="text/html")
@access("anyone")
def docs() -> Response:
    """Read and try the API in a browser"""
    page = _PAGE.format(
        name=current_app.config["APP_NAME"],
        assets=pages.public_path("/docs/assets"),
        spec=pages.public_path("/api/openapi.json"),
        start=_START,
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blp.route("/api/openapi.json", methods=["GET"])
@blp.response(200, {"type": "object"})
@access("anyone")
def openapi() -> Response:
    """Show the OpenAPI document"""
    return Response(current_app.extensions["openapi"], mimetype="application/json")


def rendered(document: object) -> bytes:
    """The document as it is served, once a process."""
    return json.dumps(document)
