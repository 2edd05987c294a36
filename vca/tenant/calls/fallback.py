"""What a caller hears whose number's tenant has a schema that is too old for this code."""

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from vca.kit import db, log
from vca.registry.dids.service import Owner
from vca.telephony.types import Action, Forward, HangUp, Reject, Say
from vca.tenancy.session import enter
from vca.tenant.calls import record
from vca.tenant.settings.service import DEFAULT_SENTENCES

# Of the columns that the first revision has, and no model: those are of another time.
_CONFIGURED = text(
    "SELECT s.sentences, p.fallback_number"
    " FROM settings s LEFT JOIN phone_numbers p ON p.id = :phone_number_id"
)
SENTENCE = (Say(DEFAULT_SENTENCES["fallback"]), HangUp())


def configured(owner: Owner) -> tuple[Action, ...]:
    """The number's fallback number, else the tenant's sentence, else ours; reads, writes nothing.

    Raises DatabaseFailure.
    """
    if owner.rests_until is not None:
        return (Reject(),)
    try:
        with enter(owner.tenant) as session:
            found = session.execute(_CONFIGURED, {"phone_number_id": owner.phone_number_id}).one()
    except DBAPIError as error:
        log.get().warning("call.fallback_not_read", sqlstate=db.sqlstate(error))
        return SENTENCE
    if owner.tenant_status == "suspended":
        return Say(record.sentence(found.sentences, "suspended")), HangUp()
    if found.fallback_number is not None:
        return (Forward(found.fallback_number),)
    return Say(record.sentence(found.sentences, "fallback")), HangUp()
