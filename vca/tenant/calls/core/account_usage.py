"""Why a telephony account cannot be deleted yet."""

from uuid import UUID

from sqlalchemy import ColumnElement, exists, select, text
from sqlalchemy.orm import Session

from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.recordings.models import Recording


def describe_account_usage(session: Session, account_id: UUID) -> str | None:
    """Return what still uses the account, as text for people, or None."""
    previous_account = PhoneNumber.previous_carrier["telephony_account_id"].astext
    conditions: dict[str, ColumnElement[bool]] = {
        "a phone number uses it": PhoneNumber.telephony_account_id == account_id,
        "a phone number may still receive calls through it": previous_account == str(account_id),
        "a live call uses it": (Call.telephony_account_id == account_id) & text(LIVE_CONDITION),
        "a recording has not been fetched yet": (Recording.telephony_account_id == account_id)
        & (Recording.status == "pending"),
    }
    for description, condition in conditions.items():
        if session.scalar(select(exists().where(condition))):
            return description
    return None
