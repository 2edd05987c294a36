"""Create the audit context of a request: the caller, the operation and the resource.

The operation's name is the one in the OpenAPI document.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from flask import current_app, g, request
from sqlalchemy.orm import Session

from vca.audit import context
from vca.audit.context import Actor, AuditContext
from vca.kit.web.access import Access
from vca.registry.api_keys.service import AuthenticatedKey

_RESOURCE_TYPES = {"key_id": "api_key"}


def request_audit_scope(access: Access, path: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Open an audit scope for this request if the operation is audited."""
    return context.audit_scope(
        _request_audit_context(path) if access.is_audited(request.method) else None
    )


def execute_audited(session: Session, view: Callable[..., Any], path: Mapping[str, Any]) -> Any:
    """Run a plain operation, and require an audit entry for its changes.

    A replayed request does not come here.
    """
    context.require_entry(session)
    return view(**path)


def _request_audit_context(path: Mapping[str, Any]) -> AuditContext:
    caller: AuthenticatedKey = g.caller
    operation = str(request.endpoint).rpartition(".")[2]
    kind: context.ActorKind = "platform_key" if caller.is_platform else "tenant_key"
    actor = Actor(kind, caller.key_id, caller.prefix)
    return AuditContext(
        actor,
        operation,
        current_app.config["PEPPERS"][0],
        g.get("request_id"),
        path.get("tenant_id"),
        _path_resource(path),
    )


def _path_resource(path: Mapping[str, Any]) -> tuple[str, UUID] | None:
    """Return the innermost resource in the path: the last id that is not the tenant's."""
    resource = None
    for name, value in path.items():
        if name != "tenant_id" and isinstance(value, UUID):
            resource = _RESOURCE_TYPES.get(name, name.removesuffix("_id")), value
    return resource
