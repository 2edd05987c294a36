"""HTTP routes of `/tenants/{tenant_id}/messages`."""

from typing import Any
from uuid import UUID

from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.context import request_session
from vca.tenant.messages import service
from vca.tenant.messages.schemas import MessageChangeSchema, MessageQuery, MessageSchema

blp = Blueprint(
    "messages", __name__, description="Messages and voicemail that callers left for a tenant."
)

URL = "/api/tenants/<uuid:tenant_id>/messages"
MESSAGE_URL = f"{URL}/<uuid:message_id>"


@blp.route(URL, methods=["GET"])
@blp.arguments(MessageQuery, location="query")
@blp.response(200, MessageSchema(many=True))
@access("tenant", "content", transaction="tenant")
def list_messages(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List messages

    Messages are sorted from newest to oldest.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_session(), page=page, **query), query)


@blp.route(MESSAGE_URL, methods=["GET"])
@blp.response(200, MessageSchema)
@access("tenant", "content", transaction="tenant")
def get_message(tenant_id: UUID, message_id: UUID) -> Any:
    """Get a message"""
    return service.get(request_session(), message_id=message_id)


@blp.route(MESSAGE_URL, methods=["PATCH"])
@blp.arguments(MessageChangeSchema)
@blp.response(200, MessageSchema)
@access("tenant", "write", additional_scope="content", transaction="tenant")
def change_message(body: dict[str, Any], tenant_id: UUID, message_id: UUID) -> Any:
    """Update message status"""
    return service.change(request_session(), message_id=message_id, **body)
