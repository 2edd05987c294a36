"""Outbound legs: allowed by the tenant's policy, counted, and noted before a carrier is asked."""

from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit import log, metrics
from vca.kit.errors import Conflict
from vca.kit.phone import masked
from vca.registry.dids import service as dids
from vca.registry.tenants import standing
from vca.tenant.calls.models import OutboundLeg
from vca.tenant.settings import dialling
from vca.tenant.settings import service as settings
from vca.tenant.settings.dialling import Code, Recent, Verdict

Kind = Literal["call", "transfer", "forward"]


class DiallingRefused(Conflict):
    """The policy against toll fraud refuses a number; `reason` says by which rule."""

    code = "dialling-refused"

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"This number is not dialled: {verdict.why} ({verdict.code}).")
        self.reason: Code | None = verdict.code


def check(
    session: Session, number: str, *, kind: Kind, call_id: UUID | None, from_number: str
) -> None:
    """Note a leg that is about to be dialled from or through one of the tenant's numbers.

    Its settings' row is held until the caller's transaction ends, so that legs which are dialled at
    the same moment are counted one after the other: commit before asking the carrier. A leg counts
    whether or not the carrier then reaches anybody. Raises DiallingRefused, and notes nothing.
    """
    own = settings.get(session, for_update=True)
    frozen = own.dialling_frozen_at is not None or standing.own(session).dialling_frozen
    verdict = dialling.may_dial(
        number,
        policy=dialling.policy_of(own, from_number=from_number),
        recent=recent(session),
        own_number=dids.is_own(session, number=number),
        frozen=frozen,
    )
    if not verdict.allowed:
        metrics.DIALLING_REFUSED.inc(code=verdict.code)
        log.get().warning(
            "dialling.refused",
            number=masked(number),
            code=verdict.code,
            kind=kind,
            call_id=str(call_id) if call_id else None,
        )
        raise DiallingRefused(verdict)
    # The clock's time and not the transaction's, which may have begun long before it got the row.
    now = func.clock_timestamp()
    session.add(OutboundLeg(id=uuid4(), call_id=call_id, kind=kind, number=number, created_at=now))
    session.flush()


def was_noted(session: Session, number: str, *, call_id: UUID) -> bool:
    """Whether the call had this number dialled: what is asked again is not counted again."""
    same = OutboundLeg.call_id == call_id, OutboundLeg.number == number
    return session.scalar(select(OutboundLeg.id).where(*same).limit(1)) is not None


def forwarded_to(session: Session, *, call_id: UUID) -> str | None:
    """The number that the call was forwarded to at last, if it was."""
    forwards = select(OutboundLeg.number).filter_by(call_id=call_id, kind="forward")
    return session.scalar(forwards.order_by(OutboundLeg.created_at.desc()).limit(1))


def recent(session: Session) -> Recent:
    """How many legs the session's tenant had dialled of late."""
    ago = func.clock_timestamp()
    in_the_last_minute = OutboundLeg.created_at > ago - timedelta(minutes=1)
    counted = select(func.count().filter(in_the_last_minute), func.count())
    day = counted.where(OutboundLeg.created_at > ago - timedelta(days=1))
    return Recent(*session.execute(day).one())
