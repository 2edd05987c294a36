"""What a profile's `extract` must be, when it is saved and when it is imported."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.conversation import json_schema
from vca.conversation.json_schema import UnusableSchema
from vca.kit import json
from vca.tenancy.schema import TenantRef

MAX_BYTES = 20_000

_LIST_SQL = """
SELECT 'profile', id, 0, extract FROM "{schema}".ai_profiles WHERE extract IS NOT NULL
UNION ALL SELECT 'version', ai_profile_id, version, profile -> 'extract'
FROM "{schema}".ai_profile_versions WHERE jsonb_typeof(profile -> 'extract') <> 'null'
"""
_CLEAR_SQL = {
    "profile": 'UPDATE "{schema}".ai_profiles SET extract = NULL WHERE id = :id AND :version = 0',
    "version": (
        'UPDATE "{schema}".ai_profile_versions'
        " SET profile = jsonb_set(profile, '{{extract}}', 'null')"
        " WHERE ai_profile_id = :id AND version = :version"
    ),
}


def check_extract(value: Any) -> None:
    """Raise UnusableSchema if the value cannot be a profile's `extract`."""
    if len(json.dumps(value)) > MAX_BYTES:
        raise UnusableSchema(f"Must not exceed {MAX_BYTES} bytes.")
    if not isinstance(value, dict):
        raise UnusableSchema("Must be an object.")
    json_schema.check_schema(value)


def remove_unusable_schemas(session: Session, tenant: TenantRef) -> int:
    """Set each `extract` that could not be saved today to null, and return how many there were.

    For the profiles of an import and their versions. The session must be an owner session that is
    not inside a tenant.
    """
    count = 0
    rows = session.execute(text(_LIST_SQL.format(schema=tenant.schema))).all()
    for table, profile_id, version, value in rows:
        try:
            check_extract(value)
        except UnusableSchema:
            statement = text(_CLEAR_SQL[table].format(schema=tenant.schema))
            session.execute(statement, {"id": profile_id, "version": version})
            count += 1
    return count
