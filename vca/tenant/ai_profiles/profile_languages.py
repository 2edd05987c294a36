"""The languages in which calls are held."""

from collections.abc import Iterator

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.orm import Session

from vca.tenant.ai_profiles.models import AiProfileVersion

_LANGUAGE_PATHS = ("$.language", "$.turn.languages[*].language")


def list_language_tags(session: Session) -> Iterator[str]:
    """Yield the language tags of all versions of the tenant's profiles, some of them twice."""
    for path in _LANGUAGE_PATHS:
        tag = func.jsonb_path_query(AiProfileVersion.profile, cast(path, JSONPATH), type_=JSONB)
        yield from filter(None, session.scalars(select(tag).distinct()))
