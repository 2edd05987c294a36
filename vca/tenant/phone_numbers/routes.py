"""`T/phone-numbers`."""

from typing import Any
from uuid import UUID

from flask import current_app, g

from vca.kit import clock, http
from vca.kit.web import Blueprint, access, created_response, pagination
from vca.kit.web.context import request_session
from vca.registry.number_registry.service import ClaimPolicy
from vca.registry.webhooks import endpoints
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import (
    decision_webhook,
    provider_compatibility,
    registration_check,
    service,
    webrtc,
)
from vca.tenant.phone_numbers.schemas import (
    ArmedDecisionWebhookSchema,
    BrowserCredentialSchema,
    BrowserSchema,
    CheckedSchema,
    DecisionWebhookSchema,
    NewPhoneNumberSchema,
    PhoneNumberChangeSchema,
    PhoneNumberQuery,
    PhoneNumberSchema,
)

blp = Blueprint("phone numbers", __name__, description="A tenant's numbers.")

URL = "/api/tenants/<uuid:tenant_id>/phone-numbers"
NUMBER_URL = f"{URL}/<uuid:phone_number_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewPhoneNumberSchema)
@blp.response(201, PhoneNumberSchema)
@access("tenant", "write", idempotency="answer")
def add_number(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Claim a phone number

    A number belongs to one tenant of the whole deployment: a taken one is 409, whoever has it. Its
    registration at the carrier follows; `registration` tells how it went. Where numbers must be
    assigned, an account of the tenant's own at the carrier that has the number is as good.
    """
    policy = _claim_policy(body)
    with tenant_session(g.tenant) as tenant_tx:
        number = service.add(tenant_tx, policy=policy, **body)
    path = f"/api/tenants/{tenant_id}/phone-numbers/{number.id}"
    return created_response(number, pagination.public_url(path))


@blp.route(URL, methods=["GET"])
@blp.arguments(PhoneNumberQuery, location="query")
@blp.response(200, PhoneNumberSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_numbers(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List a tenant's phone numbers, oldest first"""
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_session(), page=page, **query), query)


@blp.route(NUMBER_URL, methods=["GET"])
@blp.response(200, PhoneNumberSchema)
@access("tenant", "read", transaction="tenant")
def get_number(tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Show a phone number"""
    return service.get(request_session(), phone_number_id=phone_number_id)


@blp.route(NUMBER_URL, methods=["PATCH"])
@blp.arguments(PhoneNumberChangeSchema)
@blp.response(200, PhoneNumberSchema)
@access("tenant", "write", transaction="tenant")
def change_number(body: dict[str, Any], tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Change a phone number

    A pause is `mode: closed` and keeps the registration; `is_active: false` unregisters. Another
    `provider_type`, `telephony_account_id` or both moves it: it is registered there, and may ring
    from where it was for 30 days more (`previous_carrier`). Live calls stay where they are.
    """
    return service.change(request_session(), phone_number_id=phone_number_id, **body)


@blp.route(NUMBER_URL, methods=["DELETE"])
@blp.response(204)
@access("tenant", "write", transaction="tenant")
def remove_number(tenant_id: UUID, phone_number_id: UUID) -> None:
    """Give a phone number back

    It stops routing at once, is unregistered at the carrier, and rests 30 days, during which only
    the same tenant or a platform key can claim it.
    """
    service.remove(request_session(), phone_number_id=phone_number_id)


@blp.route(f"{NUMBER_URL}/register", methods=["POST"])
@blp.response(202, PhoneNumberSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def register_number(tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Register a phone number at its carrier again, now"""
    return service.register(request_session(), phone_number_id=phone_number_id)


@blp.route(f"{NUMBER_URL}/check", methods=["POST"])
@blp.response(200, CheckedSchema)
@access("tenant", "write")
def check_number(tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Show what the carrier holds of a phone number

    Field by field, beside what registering it would set; nothing is changed. A number that the
    carrier does not have is `agrees: false` without fields.
    """
    return registration_check.check_number(g.tenant, phone_number_id=phone_number_id)


@blp.route(f"{NUMBER_URL}/release-previous-carrier", methods=["POST"])
@blp.response(204)
@access("tenant", "write", transaction="tenant")
def release_previous_carrier(tenant_id: UUID, phone_number_id: UUID) -> None:
    """Take no more rings from where a phone number was before it moved

    That carrier is told to let the number go. Without a `previous_carrier` nothing happens.
    """
    service.release_previous_carrier(request_session(), phone_number_id=phone_number_id)


@blp.route(f"{NUMBER_URL}/decision-webhook", methods=["POST"])
@blp.arguments(DecisionWebhookSchema)
@blp.response(200, ArmedDecisionWebhookSchema)
@access("tenant", "admin")
def set_decision_webhook(body: dict[str, Any], tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Have a system of yours decide how a number is answered

    Before an agent or a forward answers, simulated calls too, it is sent `call.incoming`, signed by
    Standard Webhooks: `data` holds `tenant_id`, `call_id`, `phone_number_id`, `called_number`,
    `caller_number` (null: unknown), `caller_id` and `simulated`. Within 3 seconds it answers
    `{"decision": "answer", "ai_profile_id": …, "variables": {"name": "Jane"}}`, where both may be
    left out, `{"decision": "reject"}`, or `{"decision": "forward", "forward_to": "+14155550199"}`.
    On anything else the number is answered as without it, and the call's `route` says why.
    `secret` is in this answer and never again. Done again: another URL, another secret; for 24
    hours each request bears two signatures, one of them by the secret before.
    """
    endpoints.check_url(body["url"], client=http.current_client())
    with tenant_session(g.tenant) as tenant_tx:
        number_id, now = phone_number_id, clock.now()
        secret = decision_webhook.enable(tenant_tx, phone_number_id=number_id, now=now, **body)
    return {**body, "secret": secret}


@blp.route(f"{NUMBER_URL}/decision-webhook", methods=["DELETE"])
@blp.response(204)
@access("tenant", "admin", transaction="tenant")
def remove_decision_webhook(tenant_id: UUID, phone_number_id: UUID) -> None:
    """Ask nobody before a number is answered"""
    decision_webhook.disable(request_session(), phone_number_id=phone_number_id, now=clock.now())


@blp.route("/api/tenants/<uuid:tenant_id>/webrtc/credentials", methods=["POST"])
@blp.arguments(BrowserSchema)
@blp.response(201, BrowserCredentialSchema)
@access("tenant", "write")
def create_webrtc_credential(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Let a browser call through a phone number's carrier

    `token` is for the carrier's own browser library, and good for an hour. A number whose carrier
    knows no browsers is 409 `carrier-cannot`.
    """
    return webrtc.create_credential(g.tenant, phone_number_id=body["phone_number_id"])


def _claim_policy(body: dict[str, Any]) -> ClaimPolicy:
    """On what terms the caller may claim the number; may ask a carrier."""
    if g.caller.is_platform:
        return "platform"
    if current_app.config["CLAIMS_ARE_OPEN"]:
        return "open"
    provider_type = body.get("provider_type", service.DEFAULT_FIELDS["provider_type"])
    ref = ProviderAccountRef(provider_type, body.get("telephony_account_id"))
    on_own_account = provider_compatibility.is_on_own_account(
        g.tenant, did_number=body["did_number"], ref=ref
    )
    return "proven" if on_own_account else "assigned"
