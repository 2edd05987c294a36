"""HTTP routes of `/tenants/{tenant_id}/telephony-accounts`."""

from typing import Any
from uuid import UUID

from vca.kit import clock
from vca.kit.web import Blueprint, PageQuery, access, created_response, pagination
from vca.kit.web.context import request_session
from vca.services import current_services
from vca.tenant.telephony_accounts import service
from vca.tenant.telephony_accounts.schemas import (
    NewTelephonyAccountSchema,
    TelephonyAccountChangeSchema,
    TelephonyAccountSchema,
)

blp = Blueprint("telephony accounts", __name__, description="A tenant's own carrier accounts.")

URL = "/api/tenants/<uuid:tenant_id>/telephony-accounts"
ACCOUNT_URL = f"{URL}/<uuid:telephony_account_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewTelephonyAccountSchema)
@blp.response(201, TelephonyAccountSchema)
@access("tenant", "admin", transaction="tenant", idempotency="answer")
def add_telephony_account(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create a telephony account

    An account of your own at a carrier. Phone numbers that refer to it are registered, called and
    billed there. Its secrets are stored encrypted and never shown.
    """
    now = clock.now()
    account = service.account_to_dict(
        service.create(request_session(), now=now, **body, services=current_services()),
        now=now,
        services=current_services(),
    )
    path = f"/api/tenants/{tenant_id}/telephony-accounts/{account['id']}"
    return created_response(account, pagination.public_url(path))


@blp.route(URL, methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, TelephonyAccountSchema(many=True))
@access("tenant", "admin", transaction="tenant")
def list_telephony_accounts(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List telephony accounts

    The oldest account comes first.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_page(
            request_session(), page=page, now=clock.now(), services=current_services()
        ),
        query,
    )


@blp.route(ACCOUNT_URL, methods=["GET"])
@blp.response(200, TelephonyAccountSchema)
@access("tenant", "admin", transaction="tenant")
def get_telephony_account(tenant_id: UUID, telephony_account_id: UUID) -> Any:
    """Get a telephony account"""
    row = service.get(request_session(), telephony_account_id=telephony_account_id)
    return service.account_to_dict(row, now=clock.now(), services=current_services())


@blp.route(ACCOUNT_URL, methods=["PATCH"])
@blp.arguments(TelephonyAccountChangeSchema)
@blp.response(200, TelephonyAccountSchema)
@access("tenant", "admin", transaction="tenant")
def change_telephony_account(
    body: dict[str, Any], tenant_id: UUID, telephony_account_id: UUID
) -> Any:
    """Update a telephony account

    After a change of a secret, requests signed with the previous one are accepted for 24 more
    hours.
    """
    now = clock.now()
    row = service.change(
        request_session(),
        telephony_account_id=telephony_account_id,
        now=now,
        **body,
        services=current_services(),
    )
    return service.account_to_dict(row, now=now, services=current_services())


@blp.route(ACCOUNT_URL, methods=["DELETE"])
@blp.response(204)
@access("tenant", "admin", transaction="tenant")
def remove_telephony_account(tenant_id: UUID, telephony_account_id: UUID) -> None:
    """Delete a telephony account

    Returns 409 while a phone number uses the account or may still receive calls through it, and
    while the account has a live call or a recording that was not fetched yet.
    """
    service.remove(
        request_session(), telephony_account_id=telephony_account_id, services=current_services()
    )
