"""Request and response schemas of tenants."""

from marshmallow import ValidationError, fields, validates_schema

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import not_blank, string
from vca.registry.tenants.models import PLANS, STATUSES


class TenantSchema(Schema):
    """A business on the platform."""

    id = fields.UUID(dump_only=True)
    name = fields.String(
        required=True,
        validate=[*string(1, 200).validators, not_blank],
        metadata={"description": "The display name; need not be unique.", "example": "Acme Dental"},
    )
    plan = string(1, 20, one_of=PLANS, load_default="starter")
    external_id = string(
        1,
        200,
        load_default=None,
        allow_none=True,
        metadata={"description": "Your own id for this tenant; unique.", "example": "crm-4711"},
    )
    status = string(1, 20, one_of=STATUSES, dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class TenantChangeSchema(Schema):
    """The fields of a tenant that can be updated."""

    status = string(1, 20, one_of=STATUSES)
    plan = string(1, 20, one_of=PLANS)

    @validates_schema
    def _require_change(self, data: dict[str, str], **_: object) -> None:
        if not data:
            raise ValidationError("Provide a status, a plan, or both.")


class TenantQuery(PageQuery):
    """Query parameters for a list of tenants."""

    status = string(1, 20, one_of=STATUSES)
    plan = string(1, 20, one_of=PLANS)
    external_id = string(1, 200)
