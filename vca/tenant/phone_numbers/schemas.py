"""Phone numbers as the API shows and takes them."""

from marshmallow import fields

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import QueryBoolean, StrictBoolean, Uuid, e164, string
from vca.registry.webhooks.schemas import MAX_URL_LENGTH
from vca.tenant.phone_numbers.models import MODES, REGISTRATION_STATUSES
from vca.tenant.settings.hours_schema import HoursSchema


class RegistrationSchema(Schema):
    """The number at its carrier."""

    status = string(1, 20, one_of=REGISTRATION_STATUSES)
    code = fields.String(allow_none=True, metadata={"description": "Why, for programs."})
    detail = fields.String(allow_none=True, metadata={"description": "Why, for people."})
    checked_at = fields.AwareDateTime(allow_none=True)
    next_attempt_at = fields.AwareDateTime(
        allow_none=True, metadata={"description": "When the carrier is asked again, if it is."}
    )


class PreviousCarrierSchema(Schema):
    """Where a number was before it moved, and until when it may ring from there."""

    provider_type = fields.String()
    telephony_account_id = fields.UUID(allow_none=True)
    until = fields.AwareDateTime()


class PhoneNumberChangeSchema(Schema):
    """What may change on a number."""

    provider_type = string(
        1, 40, metadata={"description": "`generic`: the deployment's default carrier."}
    )
    telephony_account_id = Uuid(
        allow_none=True,
        metadata={
            "description": "The tenant's own account with the carrier of `provider_type`. null: "
            "the deployment's.",
            "example": None,
        },
    )
    label = string(1, 200, allow_none=True, metadata={"example": "Front desk"})
    is_active = StrictBoolean(
        metadata={"description": "false: unregistered at the carrier, calls are refused."}
    )
    mode = string(1, 20, one_of=MODES)
    forward_to = e164(
        allow_none=True,
        metadata={
            "description": "For `mode: forward`, and for hours that forward. Within the tenant's "
            "`dial_policy`.",
            "example": "+14155550199",
        },
    )
    hours = fields.Nested(
        HoursSchema,
        allow_none=True,
        metadata={"description": "When calls are answered. null: in the tenant's hours."},
    )
    ai_profile_id = Uuid(
        allow_none=True, metadata={"description": "null: the tenant's default profile answers."}
    )
    fallback_number = e164(
        allow_none=True,
        metadata={
            "description": "Where callers go when no agent can help them. Within the tenant's "
            "`dial_policy`.",
            "example": "+14155550199",
        },
    )


class NewPhoneNumberSchema(PhoneNumberChangeSchema):
    """A number to be claimed."""

    did_number = e164(required=True)


class PhoneNumberSchema(PhoneNumberChangeSchema):
    """A number."""

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
            "description": "Who is asked before the number is answered; null: nobody. Set by "
            "`decision-webhook`.",
            "example": "https://example.com/vca/decide",
        },
    )
    previous_carrier = fields.Nested(
        PreviousCarrierSchema,
        dump_only=True,
        allow_none=True,
        metadata={"description": "null: it rings from its carrier alone."},
    )
    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(dump_only=True)
    did_number = e164(dump_only=True)
    registration = fields.Nested(RegistrationSchema, dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class HeldSchema(Schema):
    """One thing that a carrier holds of a number, in the carrier's words; null: nothing is set."""

    name = fields.String(metadata={"example": "voice_url"})
    wanted = fields.String(allow_none=True)
    found = fields.String(allow_none=True)
    agrees = fields.Boolean()


class CheckedSchema(Schema):
    """What a carrier holds of a number."""

    provider_type = fields.String(metadata={"description": "The carrier that was asked."})
    checked_at = fields.AwareDateTime()
    agrees = fields.Boolean()
    fields_ = fields.List(fields.Nested(HeldSchema), data_key="fields", attribute="fields_as_dicts")


class DecisionWebhookSchema(Schema):
    """Who is asked before a number is answered."""

    url = string(
        1,
        MAX_URL_LENGTH,
        required=True,
        metadata={
            "description": "https, a public address.",
            "example": "https://example.com/vca/decide",
        },
    )


class ArmedDecisionWebhookSchema(DecisionWebhookSchema):
    """A decision webhook with a secret that was just made; `secret` is never shown again."""

    secret = fields.String(
        dump_only=True,
        metadata={
            "description": "Keep it now: it is shown this once. Verifies by Standard Webhooks."
        },
    )


class BrowserSchema(Schema):
    """Through which number a browser shall call."""

    phone_number_id = Uuid(required=True)


class BrowserCredentialSchema(Schema):
    """What a browser logs in with at a carrier."""

    token = fields.String(
        dump_only=True,
        metadata={"description": "Whoever has it can call until it ends. It is kept nowhere."},
    )
    identity = fields.String(
        dump_only=True, metadata={"description": "What the carrier calls the browser."}
    )
    expires_at = fields.AwareDateTime(dump_only=True)
    provider_type = fields.String(dump_only=True)


class PhoneNumberQuery(PageQuery):
    """Filters of the list of numbers."""

    did_number = string(1, 20)
    is_active = QueryBoolean()
    mode = string(1, 20, one_of=MODES)
    ai_profile_id = Uuid()
