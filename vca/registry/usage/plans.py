"""List and add versions of plans; they are never changed, because usage facts refer to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.kit.errors import InvalidInput
from vca.registry.usage.models import PlanVersion

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('vca.plans'))")


def list_versions(session: Session) -> Sequence[PlanVersion]:
    """Return all versions of all plans, by plan, newest first."""
    query = select(PlanVersion).order_by(PlanVersion.plan, PlanVersion.version.desc())
    return session.scalars(query).all()


def add_version(
    session: Session, *, plan: str, valid_from: datetime, now: datetime, **document: Any
) -> PlanVersion:
    """Add the plan's next version; it rates facts recorded from `valid_from` on.

    Raises InvalidInput if it would begin in the past or before the previous version, or if its
    currency differs from that of the other plans: the amounts of a month are added up.
    """
    session.execute(_LOCK)
    versions = list_versions(session)
    latest = next((version for version in versions if version.plan == plan), None)
    if valid_from < max([now, *(latest.valid_from for latest in [latest] if latest)]):
        raise InvalidInput.field(
            "valid_from", "Must not be in the past or before the previous version."
        )
    if any(version.document["currency"] != document["currency"] for version in versions):
        raise InvalidInput.field("currency", "All plans must have one currency.")
    number = latest.version + 1 if latest else 1
    row = PlanVersion(plan=plan, version=number, valid_from=valid_from, document=document)
    session.add(row)
    session.flush()
    return row
