"""Versions of plans: listed, and added to; never changed, since facts name what rated them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.kit.errors import InvalidInput
from vca.registry.usage.models import PlanVersion

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('vca.plans'))")


def list_versions(session: Session) -> Sequence[PlanVersion]:
    """All versions of all plans, by plan, the newest first."""
    query = select(PlanVersion).order_by(PlanVersion.plan, PlanVersion.version.desc())
    return session.scalars(query).all()


def add_version(
    session: Session, *, plan: str, valid_from: datetime, now: datetime, **document: Any
) -> PlanVersion:
    """The plan's next version: what is noted from `valid_from` on is rated by it.

    Raises InvalidInput for one that would begin before now or before the version that it follows,
    and for another currency than the plans have: a month's amounts are added up.
    """
    session.execute(_LOCK)
    known = list_versions(session)
    latest = next((each for each in known if each.plan == plan), None)
    if valid_from < max([now, *(latest.valid_from for latest in [latest] if latest)]):
        raise InvalidInput.field("valid_from", "Before now, or before the version that it follows.")
    if any(each.document["currency"] != document["currency"] for each in known):
        raise InvalidInput.field("currency", "All plans have one currency.")
    number = latest.version + 1 if latest else 1
    row = PlanVersion(plan=plan, version=number, valid_from=valid_from, document=document)
    session.add(row)
    session.flush()
    return row
