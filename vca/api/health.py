"""`/`, `/livez` and `/healthz`."""

from typing import Any

from flask import Response, current_app
from marshmallow import fields

import vca
from vca.api.errors import problem
from vca.kit.errors import Unavailable
from vca.kit.web import Blueprint, Schema, access, pagination
from vca.registry import schema
from vca.registry.model_checks import service as model_checks
from vca.services import current_services
from vca.tenancy.schema import SchemaTooOld, precedes_baseline
from vca.tenancy.session import public_session

blp = Blueprint("health", __name__, description="Service information and health checks.")


class LinksSchema(Schema):
    """Links to the documentation and the health check."""

    docs = fields.String()
    openapi = fields.String()
    health = fields.String()


class HomeSchema(Schema):
    """The service."""

    name = fields.String()
    version = fields.String()
    links = fields.Nested(LinksSchema)


class LiveSchema(Schema):
    """The liveness of the process."""

    status = fields.String(metadata={"example": "ok"})


class HealthSchema(Schema):
    """The health of the service."""

    status = fields.String(metadata={"example": "ok"})
    database = fields.String(metadata={"example": "ok"})
    schema = fields.String(
        metadata={"example": "0100", "description": "Revision of the public schema."}
    )
    models = fields.String(
        metadata={
            "example": "ok",
            "description": "The last check of the language models: `ok`, `no_tools` (at least one "
            "does not support tools), `degraded` (at least one did not answer) or `unchecked`.",
        }
    )


@blp.route("/", methods=["GET"])
@blp.response(200, HomeSchema)
@access("anyone")
def home() -> Any:
    """Get service information"""
    links = {
        "docs": pagination.public_url("/docs"),
        "openapi": pagination.public_url("/api/openapi.json"),
        "health": pagination.public_url("/healthz"),
    }
    return {"name": current_app.config["APP_NAME"], "version": vca.__version__, "links": links}


@blp.route("/livez", methods=["GET"])
@blp.response(200, LiveSchema)
@access("anyone")
def live() -> Any:
    """Check liveness

    Succeeds while the process is up. It uses no database and no other service.
    """
    return {"status": "ok"}


@blp.route("/healthz", methods=["GET"])
@blp.response(200, HealthSchema)
@blp.alt_response(
    503, description="The database is unavailable, or its schema is behind the code or too old."
)
@access("anyone")
def healthy() -> Any:
    """Check readiness

    Succeeds if requests can be served: the settings are valid, the database responds, and the
    public schema is at or ahead of the code. The response also has the result of the last check of
    the language models. It does not affect the status: calls still reach fallback numbers.
    """
    try:
        with public_session(database=current_services().database) as session:
            revision = schema.current_revision(session)
            if precedes_baseline(revision):
                return _unhealthy(SchemaTooOld.code, SchemaTooOld().detail, schema=str(revision))
            if schema.is_behind(revision):
                return _schema_behind(revision)
            states = model_checks.read_states(session, current_services().models)
    except Unavailable as error:
        return _unhealthy("database-unavailable", error.detail, database="unavailable")
    status = model_checks.summarise(states)
    return {"status": "ok", "database": "ok", "schema": revision, "models": status}


def _schema_behind(revision: str | None) -> Response:
    detail = "The public schema is behind the code. Run `flask db upgrade`."
    return _unhealthy("schema-behind", detail, schema=revision or "missing")


def _unhealthy(code: str, detail: str, **extra: str) -> Response:
    response = problem(503, code, "Service Unavailable", detail, **extra)
    response.headers["Retry-After"] = "2"
    return response
