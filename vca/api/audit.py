"""The deed of a request: who asks, for what, by the operation's name in the document."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from flask import g, request
from sqlalchemy.orm import Session

from vca.audit import context
from vca.audit.context import Actor, AuditContext
from vca.kit.web.access import Access
from vca.registry.api_keys.service import AuthenticatedKey

_RESOURCE_TYPES = {"key_id": "api_key"}


def request_audit_scope(access: Access, path: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What the request commits is told in the audit, if its operation is one that is told."""
    return context.audit_scope(
        _request_audit_context(path) if access.is_audited(request.method) else None
    )


def execute_audited(session: Session, view: Callable[..., Any], path: Mapping[str, Any]) -> Any:
    """Do a plain operation, which is told whatever it changes; a repeated one is not done."""
    context.require_entry(session)
    return view(**path)


def _request_audit_context(path: Mapping[str, Any]) -> AuditContext:
    caller: AuthenticatedKey = g.caller
    operation = str(request.endpoint).rpartition(".")[2]
    kind: context.ActorKind = "platform_key" if caller.is_platform else "tenant_key"
    actor = Actor(kind, caller.key_id, caller.prefix)
    return AuditContext(
        actor, operation, g.get("request_id"), path.get("tenant_id"), _path_resource(path)
    )


def _path_resource(path: Mapping[str, Any]) -> tuple[str, UUID] | None:
    """The thing that the path names, and in which others are: the last of its ids."""
    resource = None
    for name, value in path.items():
        if name != "tenant_id" and isinstance(value, UUID):
            resource = _RESOURCE_TYPES.get(name, name.removesuffix("_id")), value
    return resource
