"""The deed of a request: who asks, for what, by the operation's name in the document."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from flask import g, request
from sqlalchemy.orm import Session

from vca.kit import deeds
from vca.kit.deeds import Actor, Deed
from vca.kit.web.access import Access
from vca.registry.api_keys.service import Caller

_TYPES = {"key_id": "api_key"}


def of_request(access: Access, path: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What the request commits is told in the audit, if its operation is one that is told."""
    return deeds.performing(_deed(path) if access.audited(request.method) else None)


def told(session: Session, view: Callable[..., Any], path: Mapping[str, Any]) -> Any:
    """Do a plain operation, which is told whatever it changes; a repeated one is not done."""
    deeds.expect(session)
    return view(**path)


def _deed(path: Mapping[str, Any]) -> Deed:
    caller: Caller = g.caller
    operation = str(request.endpoint).rpartition(".")[2]
    kind: deeds.ActorKind = "platform_key" if caller.is_platform else "tenant_key"
    actor = Actor(kind, caller.key_id, caller.prefix)
    return Deed(actor, operation, g.get("request_id"), path.get("tenant_id"), _named(path))


def _named(path: Mapping[str, Any]) -> tuple[str, UUID] | None:
    """The thing that the path names, and in which others are: the last of its ids."""
    found = None
    for name, value in path.items():
        if name != "tenant_id" and isinstance(value, UUID):
            found = _TYPES.get(name, name.removesuffix("_id")), value
    return found
