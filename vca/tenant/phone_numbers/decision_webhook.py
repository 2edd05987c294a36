"""The system of a tenant's that is asked how a number is answered: where it is, what signs for us.

Its secrets are one sealed document: the present one, and for a day the one before.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import at_rest, json, standard_webhooks
from vca.kit.at_rest import CannotOpen, Place
from vca.tenant.phone_numbers import service

# Both secrets sign for so long, for receivers that are not changed at the same moment.
OVERLAP = timedelta(hours=24)


def arm(session: Session, *, phone_number_id: UUID, url: str, now: datetime) -> str:
    """Have the URL, which was checked, asked from now on; its new secret is known only now.

    The secret before signs too for a day, unless our keys do not open it. Raises NotFound.
    """
    number = service.get(session, phone_number_id=phone_number_id, for_update=True)
    keys, where = at_rest.current(), _place(number.tenant_id, number.id)
    secret = standard_webhooks.new_secret()
    kept: dict[str, Any] = {"secret": secret}
    with suppress(CannotOpen):
        if number.decision_secret is not None:
            before = json.loads(keys.open(number.decision_secret, where))["secret"]
            kept |= {"previous": before, "previous_until": now + OVERLAP}
    number.decision_url = url
    number.decision_secret = keys.seal(json.dumps(kept).decode(), where)
    number.updated_at = now
    session.flush()
    return secret


def disarm(session: Session, *, phone_number_id: UUID, now: datetime) -> None:
    """Ask nobody any more. Raises NotFound."""
    number = service.get(session, phone_number_id=phone_number_id, for_update=True)
    number.decision_url = number.decision_secret = None
    number.updated_at = now
    session.flush()


def secrets(
    sealed: bytes, *, tenant_id: UUID, phone_number_id: UUID, now: datetime
) -> tuple[str, ...]:
    """What signs at this moment, the newest first; raises CannotOpen."""
    opened = at_rest.current().open(sealed, _place(tenant_id, phone_number_id))
    kept = json.loads(opened)
    until = kept.get("previous_until")
    if until is None or datetime.fromisoformat(until) <= now:
        return (kept["secret"],)
    return kept["secret"], kept["previous"]


def _place(tenant_id: UUID, phone_number_id: UUID) -> Place:
    return Place(tenant_id, "phone_numbers", phone_number_id, "decision_secret")
