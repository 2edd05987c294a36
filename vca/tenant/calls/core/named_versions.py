"""Which versions of AI profiles calls name."""

from datetime import timedelta

from sqlalchemy import ColumnElement, exists, func, or_
from sqlalchemy.orm import Session

from vca.tenant.ai_profiles.models import AiProfileVersion
from vca.tenant.calls.core.models import Call
from vca.tenant.settings import service as settings


def is_named(session: Session) -> ColumnElement[bool]:
    """Return the condition that a call names the version, and that its transcript may be stored.

    Without a retention period for transcripts every call counts.
    """
    conditions: list[ColumnElement[bool]] = [
        Call.ai_profile_id == AiProfileVersion.ai_profile_id,
        Call.ai_profile_version == AiProfileVersion.version,
    ]
    days = settings.retention_days(session, "transcripts")
    if days is not None:
        is_retained = Call.ended_at > func.now() - timedelta(days=days)
        conditions.append(or_(Call.ended_at.is_(None), is_retained))
    return exists().where(*conditions)
