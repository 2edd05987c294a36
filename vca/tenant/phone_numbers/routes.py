"""HTTP routes of `/tenants/{tenant_id}/phone-numbers` and of WebRTC credentials."""

from typing import Any
from uuid import UUID

from flask import current_app, g

from vca.kit import clock, phone
from vca.kit.errors import InvalidInput
from vca.kit.web import Blueprint, access, created_response, pagination
from vca.kit.web.context import calling_out, request_reader, request_session
from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.service import ClaimPolicy, NumberNotAssigned
from vca.registry.webhooks import endpoints
from vca.services import current_services
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

blp = Blueprint(
    "phone numbers",
    __name__,
    description="A tenant's phone numbers, and their registration at carriers.",
)

URL = "/api/tenants/<uuid:tenant_id>/phone-numbers"
NUMBER_URL = f"{URL}/<uuid:phone_number_id>"
_UNKNOWN_NUMBER = (
    "No numbering plan has this number. Claim it from your own carrier account, or ask the "
    "platform to assign it to you."
)


@blp.route(URL, methods=["POST"])
@blp.arguments(NewPhoneNumberSchema)
@blp.response(201, PhoneNumberSchema)
@access("tenant", "write", idempotency="answer", calls_out=False)
def add_number(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Claim a phone number

    A number belongs to one tenant of the whole deployment. Claiming a number that is taken returns
    409 without naming its owner. Registration at the carrier follows in the background;
    `registration` has its status. If the platform must assign numbers, a number on the tenant's own
    carrier account can be claimed without an assignment. A number that no numbering plan has can be
    claimed by a platform key, after an assignment, or from the tenant's own carrier account.
    """
    policy = _claim_policy(body)
    services = current_services()
    try:
        with (
            number_registry.claim_permit(
                number=body["did_number"],
                tenant_id=tenant_id,
                policy=policy,
                database=services.database,
            ),
            tenant_session(g.tenant, database=services.database) as tenant_tx,
        ):
            number = service.add(tenant_tx, **body, services=services)
    except NumberNotAssigned:
        if phone.is_valid(body["did_number"], services.settings.diallable_prefixes):
            raise
        raise InvalidInput.field("did_number", _UNKNOWN_NUMBER) from None
    path = f"/api/tenants/{tenant_id}/phone-numbers/{number.id}"
    return created_response(number, pagination.public_url(path))


@blp.route(URL, methods=["GET"])
@blp.arguments(PhoneNumberQuery, location="query")
@blp.response(200, PhoneNumberSchema(many=True))
@access("tenant", "read", transaction="tenant_read")
def list_numbers(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List phone numbers

    Numbers are sorted by creation time, oldest first.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_reader(), page=page, **query), query)


@blp.route(NUMBER_URL, methods=["GET"])
@blp.response(200, PhoneNumberSchema)
@access("tenant", "read", transaction="tenant")
def get_number(tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Get a phone number"""
    return service.get(request_session(), phone_number_id=phone_number_id)


@blp.route(NUMBER_URL, methods=["PATCH"])
@blp.arguments(PhoneNumberChangeSchema)
@blp.response(200, PhoneNumberSchema)
@access("tenant", "write", transaction="tenant")
def change_number(body: dict[str, Any], tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Update a phone number

    To pause a number, set `mode` to `closed`, which keeps the registration. Setting `is_active` to
    `false` unregisters it. A change of `provider_type` or `telephony_account_id` moves the number:
    it is registered at the new carrier, and calls from the previous one are accepted for 30 more
    days (`previous_carrier`). Live calls are not affected.
    """
    return service.change(
        request_session(), phone_number_id=phone_number_id, **body, services=current_services()
    )


@blp.route(NUMBER_URL, methods=["DELETE"])
@blp.response(204)
@access("tenant", "write", transaction="tenant")
def remove_number(tenant_id: UUID, phone_number_id: UUID) -> None:
    """Release a phone number

    The number stops receiving calls at once and is unregistered at the carrier. For 30 days only
    the same tenant or a platform key can claim it again.
    """
    service.remove(request_session(), phone_number_id=phone_number_id)


@blp.route(f"{NUMBER_URL}/register", methods=["POST"])
@blp.response(202, PhoneNumberSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def register_number(tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Register a phone number again

    Registration at the carrier is scheduled immediately.
    """
    return service.register(
        request_session(), phone_number_id=phone_number_id, services=current_services()
    )


@blp.route(f"{NUMBER_URL}/check", methods=["POST"])
@blp.response(200, CheckedSchema)
@access("tenant", "write")
def check_number(tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Check a phone number at its carrier

    Returns each setting at the carrier and the value that registration would set. Nothing is
    changed. If the carrier does not have the number, `agrees` is `false` and `fields` is empty.
    """
    return registration_check.check_number(
        g.tenant, phone_number_id=phone_number_id, services=current_services()
    )


@blp.route(f"{NUMBER_URL}/release-previous-carrier", methods=["POST"])
@blp.response(204)
@access("tenant", "write", transaction="tenant")
def release_previous_carrier(tenant_id: UUID, phone_number_id: UUID) -> None:
    """Release the previous carrier

    Calls from the carrier that the number has moved from are no longer accepted, and the number is
    unregistered there. Without a `previous_carrier` nothing happens.
    """
    service.release_previous_carrier(request_session(), phone_number_id=phone_number_id)


@blp.route(f"{NUMBER_URL}/decision-webhook", methods=["POST"])
@blp.arguments(DecisionWebhookSchema)
@blp.response(200, ArmedDecisionWebhookSchema)
@access("tenant", "admin", additional_scope="content")
def set_decision_webhook(body: dict[str, Any], tenant_id: UUID, phone_number_id: UUID) -> Any:
    """Set the decision webhook

    Before a call, also a simulated one, is answered by an agent or forwarded, your URL receives the
    event `call.incoming`, signed by Standard Webhooks. Its `data` has `tenant_id`, `call_id`,
    `phone_number_id`, `called_number`, `caller_number` (null if unknown), `caller_id` and
    `simulated`.

    Within 3 seconds respond with `{"decision": "answer", "ai_profile_id": …, "variables": {"name":
    "Jane"}}`, where both other fields are optional, with `{"decision": "reject"}`, or with
    `{"decision": "forward", "forward_to": "+14155550199"}`. After any other response the call is
    handled as without a decision webhook, and the call's `route` has the reason.

    The scope `content` is needed because your URL receives callers' numbers. The response has the
    `secret`, which is not shown again. Repeating this request sets a new URL and a new secret. For
    24 hours each request then bears two signatures, one of them made with the previous secret.
    """
    endpoints.check_url(body["url"], client=current_services().http_client)
    with tenant_session(g.tenant, database=current_services().database) as tenant_tx:
        number_id, now = phone_number_id, clock.now()
        secret = decision_webhook.enable(
            tenant_tx, phone_number_id=number_id, now=now, **body, services=current_services()
        )
    return {**body, "secret": secret}


@blp.route(f"{NUMBER_URL}/decision-webhook", methods=["DELETE"])
@blp.response(204)
@access("tenant", "admin", transaction="tenant")
def remove_decision_webhook(tenant_id: UUID, phone_number_id: UUID) -> None:
    """Delete the decision webhook"""
    decision_webhook.disable(request_session(), phone_number_id=phone_number_id, now=clock.now())


@blp.route("/api/tenants/<uuid:tenant_id>/webrtc/credentials", methods=["POST"])
@blp.arguments(BrowserSchema)
@blp.response(201, BrowserCredentialSchema)
@access("tenant", "write")
def create_webrtc_credential(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create a WebRTC credential

    `token` is for the carrier's browser library and is valid for an hour. If the number's carrier
    does not support WebRTC, the response is 409 `carrier-cannot`. If the tenant may dial nothing
    now, it is 409 `dialling-refused` or `spend-cap-reached`, as for a call.
    """
    return webrtc.create_credential(
        g.tenant, phone_number_id=body["phone_number_id"], services=current_services()
    )


def _claim_policy(body: dict[str, Any]) -> ClaimPolicy:
    """Return the policy under which the caller may claim the number; this may ask a carrier.

    A number that no numbering plan has is not free for all: the platform or the tenant's own
    carrier account must vouch for it.
    """
    if g.caller.is_platform:
        return "platform"
    if current_app.config["CLAIMS_ARE_OPEN"] and phone.is_valid(
        body["did_number"], current_services().settings.diallable_prefixes
    ):
        return "open"
    provider_type = body.get("provider_type", service.DEFAULT_FIELDS["provider_type"])
    ref = ProviderAccountRef(provider_type, body.get("telephony_account_id"))
    with calling_out():
        on_own_account = provider_compatibility.is_on_own_account(
            g.tenant, did_number=body["did_number"], ref=ref, services=current_services()
        )
    return "proven" if on_own_account else "assigned"
