"""Delete the oldest versions of profiles, so that a profile can be changed without end.

A version stays while a call names it whose transcript is stored, or may be. Numbering continues.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, select, tuple_
from sqlalchemy.orm import Session

from vca.services import Services
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion

# Of a profile, and of all deleted profiles together.
MAX_VERSIONS = 500
# In one change, which must not take long; the next change deletes the others.
MAX_DELETIONS = 1_000
_IS_DELETED = ~exists().where(AiProfile.id == AiProfileVersion.ai_profile_id)
_KEY = (AiProfileVersion.ai_profile_id, AiProfileVersion.version)


def prune_profile(session: Session, *, services: Services, ai_profile_id: UUID) -> None:
    """Delete the oldest versions of a profile beyond the maximum. The caller locks the profile."""
    is_of_profile = AiProfileVersion.ai_profile_id == ai_profile_id
    _prune(session, is_of_profile, [AiProfileVersion.version.desc()], services=services)


def prune_deleted_profiles(session: Session, *, services: Services) -> None:
    """Delete the oldest versions of deleted profiles beyond the maximum.

    The caller holds the lock of the tenant's settings.
    """
    newest_first = AiProfileVersion.created_at.desc(), AiProfileVersion.version.desc()
    _prune(session, _IS_DELETED, newest_first, services=services)


def _prune(
    session: Session,
    condition: ColumnElement[bool],
    newest_first: Sequence[ColumnElement[Any]],
    *,
    services: Services,
) -> None:
    """Delete those versions behind the newest ones that no call names."""
    is_unnamed = ~services.callbacks.find_named_versions(session)
    surplus = select(*_KEY).where(condition).order_by(*newest_first).offset(MAX_VERSIONS)
    deletable = select(*_KEY).where(tuple_(*_KEY).in_(surplus), is_unnamed)
    # A call that is being inserted locks the version that it names. This query skips it; if the
    # call is committed meanwhile, the next one sees it.
    locked = deletable.limit(MAX_DELETIONS).with_for_update(skip_locked=True)
    keys = [tuple(row) for row in session.execute(locked)]
    if keys:
        deletion = delete(AiProfileVersion).where(tuple_(*_KEY).in_(keys), is_unnamed)
        session.execute(deletion, execution_options={"synchronize_session": False})
