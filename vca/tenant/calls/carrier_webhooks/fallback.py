"""What callers hear if the schema of the number's tenant is too old for this code."""

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from vca.kit import db
from vca.observability import log
from vca.registry.number_registry.service import Owner
from vca.telephony.types import Action, Forward, HangUp, Reject, Say
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record
from vca.tenant.settings.service import DEFAULT_SENTENCES

# Uses columns that exist since the first revision, and no ORM model, which needs the latest one.
_SELECT_FALLBACK_CONFIG = text(
    "SELECT s.sentences, p.fallback_number"
    " FROM settings s LEFT JOIN phone_numbers p ON p.id = :phone_number_id"
)
FALLBACK_ACTIONS = (Say(DEFAULT_SENTENCES["fallback"]), HangUp())


def fallback_actions(owner: Owner) -> tuple[Action, ...]:
    """Return a forward to the fallback number, or the tenant's sentence, or the default sentence.

    Read-only. Raises DatabaseFailure.
    """
    if owner.rests_until is not None:
        return (Reject(),)
    try:
        with tenant_session(owner.tenant) as session:
            config = session.execute(
                _SELECT_FALLBACK_CONFIG, {"phone_number_id": owner.phone_number_id}
            ).one()
    except DBAPIError as error:
        log.get_logger().warning("call.fallback_not_read", sqlstate=db.sqlstate(error))
        return FALLBACK_ACTIONS
    if owner.tenant_status == "suspended":
        return Say(record.sentence_or_default(config.sentences, "suspended")), HangUp()
    if config.fallback_number is not None:
        return (Forward(config.fallback_number),)
    return Say(record.sentence_or_default(config.sentences, "fallback")), HangUp()
