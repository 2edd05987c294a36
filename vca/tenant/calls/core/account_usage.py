"""What still needs a tenant's account with a carrier: then it is not to be forgotten."""

from uuid import UUID

from sqlalchemy import ColumnElement, exists, select, text
from sqlalchemy.orm import Session

from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.recordings.models import Recording


def describe_account_usage(session: Session, account_id: UUID) -> str | None:
    """What needs it, for people; None: nothing."""
    previous_account = PhoneNumber.previous_carrier["telephony_account_id"].astext
    conditions: dict[str, ColumnElement[bool]] = {
        "a phone number names it": PhoneNumber.telephony_account_id == account_id,
        "a phone number may still ring from there": previous_account == str(account_id),
        "it holds a live call": (Call.telephony_account_id == account_id) & text(LIVE_CONDITION),
        "a recording is still to be fetched": (Recording.telephony_account_id == account_id)
        & (Recording.status == "pending"),
    }
    for description, condition in conditions.items():
        if session.scalar(select(exists().where(condition))):
            return description
    return None
