"""Request and response schemas of phone numbers."""

from marshmallow import fields

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import QueryBoolean, StrictBoolean, Uuid, diallable_number, e164, string
from vca.registry.webhooks.schemas import MAX_URL_LENGTH
from vca.tenant.phone_numbers.models import MODES, REGISTRATION_STATUSES
from vca.tenant.settings.hours_schema import HoursSchema


class RegistrationSchema(Schema):
    """The status of the number's registration at the carrier."""

    status = string(1, 20, one_of=REGISTRATION_STATUSES)
    code = fields.String(allow_none=True, metadata={"description": "Machine-readable reason."})
    detail = fields.String(allow_none=True, metadata={"description": "Human-readable reason."})
    checked_at = fields.AwareDateTime(allow_none=True)
    next_attempt_at = fields.AwareDateTime(
        allow_none=True, metadata={"description": "Time of the next attempt, if one is scheduled."}
    )


class PreviousCarrierSchema(Schema):
    """The carrier that a number has moved from, and until when its calls are accepted."""

    provider_type = fields.String()
    telephony_account_id = fields.UUID(allow_none=True)
    until = fields.AwareDateTime()


class PhoneNumberChangeSchema(Schema):
    """The fields of a phone number that can be updated."""

    provider_type = string(
        1,
        40,
        metadata={"description": "The carrier. `generic` is the deployment's default carrier."},
    )
    telephony_account_id = Uuid(
        allow_none=True,
        metadata={
            "description": "The tenant's own account with the carrier of `provider_type`. null "
            "selects the deployment's account.",
            "example": None,
        },
    )
    label = string(1, 200, allow_none=True, metadata={"example": "Front desk"})
    is_active = StrictBoolean(
        metadata={
            "description": "false unregisters the number at the carrier and rejects its calls."
        }
    )
    mode = string(1, 20, one_of=MODES)
    forward_to = diallable_number(
        allow_none=True,
        metadata={
            "description": "Destination for `mode: forward` and for opening hours that forward. "
            "Must be allowed by the tenant's `dial_policy`.",
            "example": "+14155550199",
        },
    )
    hours = fields.Nested(
        HoursSchema,
        allow_none=True,
        metadata={
            "description": "When calls are answered. null selects the tenant's opening hours."
        },
    )
    ai_profile_id = Uuid(
        allow_none=True,
        metadata={
            "description": "The profile that answers. null selects the tenant's default profile."
        },
    )
    fallback_number = diallable_number(
        allow_none=True,
        metadata={
            "description": "Destination of calls that no agent can handle. Must be allowed by the "
            "tenant's `dial_policy`.",
            "example": "+14155550199",
        },
    )


class NewPhoneNumberSchema(PhoneNumberChangeSchema):
    """The request to claim a phone number."""

    did_number = e164(required=True)


class PhoneNumberSchema(PhoneNumberChangeSchema):
    """A phone number."""

    grouped = {
        "registration": {
            "status": "registration_status",
            "code": "registration_code",
            "detail": "registration_detail",
            "checked_at": "registration_checked_at",
            "next_attempt_at": "registration_next_attempt_at",
        }
    }

    decision_url = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "URL of the decision webhook, which decides how calls are answered. "
            "null if there is none. Set through `decision-webhook`.",
            "example": "https://example.com/vca/decide",
        },
    )
    previous_carrier = fields.Nested(
        PreviousCarrierSchema,
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "The carrier that the number has moved from. null if there is none."
        },
    )
    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(dump_only=True)
    did_number = e164(dump_only=True)
    registration = fields.Nested(RegistrationSchema, dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class HeldSchema(Schema):
    """A setting at the carrier, in the carrier's terms; null means that nothing is set."""

    name = fields.String(metadata={"example": "voice_url"})
    wanted = fields.String(allow_none=True)
    found = fields.String(allow_none=True)
    agrees = fields.Boolean()


class CheckedSchema(Schema):
    """The settings of a number at its carrier."""

    provider_type = fields.String(metadata={"description": "The carrier that was queried."})
    checked_at = fields.AwareDateTime()
    agrees = fields.Boolean()
    fields_ = fields.List(fields.Nested(HeldSchema), data_key="fields", attribute="fields_as_dicts")


class DecisionWebhookSchema(Schema):
    """The request to set a decision webhook."""

    url = string(
        1,
        MAX_URL_LENGTH,
        required=True,
        metadata={
            "description": "An https URL with a public address.",
            "example": "https://example.com/vca/decide",
        },
    )


class ArmedDecisionWebhookSchema(DecisionWebhookSchema):
    """A decision webhook with its new secret, which is not shown again."""

    secret = fields.String(
        dump_only=True,
        metadata={
            "description": "Secret to verify signatures by Standard Webhooks. Store it now: it is "
            "shown only once."
        },
    )


class BrowserSchema(Schema):
    """The request to create a WebRTC credential."""

    phone_number_id = Uuid(required=True)


class BrowserCredentialSchema(Schema):
    """A credential with which a browser logs in at a carrier."""

    token = fields.String(
        dump_only=True,
        metadata={
            "description": "Anyone who has the token can place calls until it expires. It is not "
            "stored."
        },
    )
    identity = fields.String(
        dump_only=True, metadata={"description": "The browser's identity at the carrier."}
    )
    expires_at = fields.AwareDateTime(dump_only=True)
    provider_type = fields.String(dump_only=True)


class PhoneNumberQuery(PageQuery):
    """Query parameters of the list of phone numbers."""

    did_number = e164()
    is_active = QueryBoolean()
    mode = string(1, 20, one_of=MODES)
    ai_profile_id = Uuid()
