"""A few of the tenant's numbers that stand for all of them in checks of the dial policy.

The policy of a number depends on its country, which is the same for numbers that begin alike.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from vca.tenant.phone_numbers.models import PhoneNumber

# Longer than any area code with its country code.
_PREFIX_CHARS = 9


def list_all(session: Session) -> Sequence[str]:
    """Return at least one of the tenant's numbers of each country."""
    return _list(session)


def has_any(session: Session, numbers: Sequence[str]) -> bool:
    """Return whether one of these numbers, in E.164, is the tenant's."""
    query = select(PhoneNumber.id).where(PhoneNumber.did_number.in_(numbers)).limit(1)
    return session.scalar(query) is not None


def list_answered(
    session: Session, *, ai_profile_id: UUID | None, is_default: bool
) -> Sequence[str]:
    """Return at least one number of each country that a profile answers.

    `ai_profile_id` is None for a profile that is not stored yet. The default profile answers the
    numbers that have none of their own.
    """
    conditions: list[ColumnElement[bool]] = []
    if ai_profile_id is not None:
        conditions.append(PhoneNumber.ai_profile_id == ai_profile_id)
    if is_default:
        conditions.append(PhoneNumber.ai_profile_id.is_(None))
    return _list(session, or_(*conditions)) if conditions else ()


def _list(session: Session, *conditions: ColumnElement[bool]) -> Sequence[str]:
    prefix = func.left(PhoneNumber.did_number, _PREFIX_CHARS)
    query = select(func.min(PhoneNumber.did_number)).where(*conditions).group_by(prefix)
    return session.scalars(query.order_by(prefix)).all()
