"""Request and response schemas of audit entries."""

from marshmallow import fields, validate

from vca.audit.context import ACTORS
from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import DateTime, Uuid, string

_CHANGES_DESCRIPTION = (
    "Changes by field. Numbers, booleans, ids, times and enumerations have `from` and `to`. "
    "Telephone numbers have `from_hash` and `to_hash`: equal numbers have equal hashes. For other "
    "fields `redacted` is true, and the values are not stored."
)


class EntrySchema(Schema):
    """An operation in the audit log."""

    id = fields.UUID(dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)
    tenant_id = fields.UUID(dump_only=True, allow_none=True)
    actor = fields.String(dump_only=True, validate=validate.OneOf(ACTORS))
    key_id = fields.UUID(dump_only=True, allow_none=True)
    key_prefix = fields.String(
        dump_only=True, allow_none=True, metadata={"example": "vca_8Zk2Qm4T"}
    )
    request_id = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The response's `X-Request-Id`."},
    )
    operation = fields.String(
        dump_only=True,
        metadata={
            "description": "An `operationId` of this document, or the name of a command.",
            "example": "change_number",
        },
    )
    object_type = fields.String(
        dump_only=True, allow_none=True, metadata={"example": "phone_number"}
    )
    object_id = fields.UUID(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "The object's id; null for singletons. For a `did`, a keyed hash."
        },
    )
    changes = fields.Dict(
        dump_only=True,
        metadata={
            "description": _CHANGES_DESCRIPTION,
            "example": {"mode": {"from": "agent", "to": "closed"}, "label": {"redacted": True}},
        },
    )


class EntryQuery(PageQuery):
    """Query parameters for a list of audit entries."""

    operation = string(1, 100)
    object_type = string(1, 100)
    object_id = Uuid()
    actor = string(1, 100, one_of=ACTORS)
    key_prefix = string(1, 100)
    created_after = DateTime(attribute="created_at__gt")
    created_before = DateTime(attribute="created_at__lt")


class PlatformEntryQuery(EntryQuery):
    """Query parameters for the platform's audit entries."""

    tenant_id = Uuid()
