"""Request and response schemas of the number registry."""

from marshmallow import fields

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import Uuid, e164, string
from vca.registry.number_registry.models import STATES


class DidSchema(Schema):
    """A number, and the tenant that it is assigned to, claimed by, or quarantined for."""

    did_number = e164(required=True)
    tenant_id = Uuid(required=True)
    state = string(1, 20, one_of=STATES, dump_only=True)
    phone_number_id = fields.UUID(dump_only=True, allow_none=True)
    provider_type = fields.String(dump_only=True, allow_none=True)
    telephony_account_id = fields.UUID(dump_only=True, allow_none=True)
    registration_status = fields.String(dump_only=True, allow_none=True)
    rests_until = fields.AwareDateTime(dump_only=True, allow_none=True)
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class DidQuery(PageQuery):
    """Query parameters for a list of numbers."""

    tenant_id = Uuid()
    did_number = e164()
    state = string(1, 20, one_of=STATES)
