"""Erase a person at a tenant, everywhere; the job may be killed at any step and run again.

What tells whose a call was goes last, so that what a killed run has left is found by the next. A
call that goes on is left alone, and the job comes back until it has ended: nothing of what is said
in it by then is kept. The ledger is written first of all.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import clock, json, log
from vca.kit.storage import StorageError
from vca.tenancy import kept
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.privacy import exporting, finding, ledger, mentions, recorded, requests
from vca.tenant.privacy.finding import Theirs
from vca.tenant.privacy.ledger import Entry
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.requests import Order
from vca.tenant.privacy.subject import Subject

# A live call ends in minutes; a store that is away comes back.
LOOK_AGAIN = timedelta(seconds=60)
TRY_AGAIN = timedelta(seconds=300)
_FORGET_FINISHED = text("SELECT jobs.forget_finished(:pattern)")
_NAMING = text("SELECT id, args, doing FROM jobs.naming(:pattern)")
_REWORD = text("SELECT jobs.reword(:id, CAST(:args AS jsonb))")


def erase(tenant: TenantRef, *, request_id: UUID) -> None:
    """Do what an erasure asks for, as far as it can be done now; the rest is ordered again."""
    with enter(tenant) as session:
        order = requests.read(session, tenant, request_id=request_id)
    if order is None:
        return
    try:
        _note(tenant, order)
        whole = _erase(tenant, order)
        _end(tenant, order, whole=whole)
    except StorageError as error:
        log.get().warning("privacy.erasure_delayed", request_id=str(request_id), exc_info=error)
        with enter(tenant) as session:
            row = session.get_one(PrivacyRequest, request_id)
            requests.order(session, row, run_at=clock.now() + TRY_AGAIN)


def _erase(tenant: TenantRef, order: Order) -> bool:
    """Whether nothing is left."""
    with enter(tenant) as session:
        theirs = finding.calls(session, order.subject, until=order.until)
    ended = [call for call in theirs if not call.live]
    for batch in finding.batches(ended):
        _erase_calls(tenant, order, batch)
    with enter(tenant) as session:
        _erase_messages(session, order)
    exporting.withdraw(tenant, hashes=ledger.hashes(tenant.id, order.subject.number))
    with enter(tenant) as session:
        live = finding.live(session)
    whole = _erase_mentions(tenant, order, live)
    with enter(tenant) as session:
        quiet = _erase_jobs(session, order)
    return whole and quiet and len(ended) == len(theirs)


def _erase_calls(tenant: TenantRef, order: Order, calls: Sequence[Theirs]) -> None:
    """What tells of the calls, their audio, and then what was said in them with their numbers."""
    ids = [call.call_id for call in calls]
    with enter(tenant) as session:
        requests.count(session, order.request_id, recorded.erase_told(session, ids))
        requests.count(session, order.request_id, recorded.erase_answers(session, ids))
    audio = recorded.erase_audio(tenant, ids)
    with enter(tenant) as session:
        counts = recorded.erase_calls(session, ids)
        requests.count(session, order.request_id, {**counts, "recordings": audio})
        _note_carriers(session, order, calls)


def _note_carriers(session: Session, order: Order, calls: Sequence[Theirs]) -> None:
    """Keep where the carriers have records of their own, to be asked for with these ids."""
    known = session.get_one(PrivacyRequest, order.request_id).result.get("at_carriers", [])
    theirs = [
        {"provider_type": call.provider_type, "provider_call_id": call.provider_call_id}
        for call in calls
        if not call.simulated and call.provider_call_id is not None
    ]
    requests.note(session, order.request_id, at_carriers=[*known, *theirs])


def _erase_messages(session: Session, order: Order) -> None:
    found = finding.messages(session, order.subject, until=order.until)
    told = recorded.erase_told(session, (), found)
    requests.count(session, order.request_id, told)
    requests.count(session, order.request_id, recorded.erase_messages(session, found))


def _erase_mentions(tenant: TenantRef, order: Order, live: Collection[UUID]) -> bool:
    done, whole = mentions.erase(tenant, order.subject, until=order.until, live=live)
    with enter(tenant) as session:
        requests.count(session, order.request_id, {"mentions": done})
        where = mentions.configured(session, order.subject)
        copies = [schema.until.date().isoformat() for schema in kept.kept_of(session, tenant)]
        requests.note(session, order.request_id, configured=where, copies=copies)
    return whole


def _erase_jobs(session: Session, order: Order) -> bool:
    """Forget jobs that are over and name the number, reword those that wait; whether none works."""
    pattern = {"pattern": order.subject.pattern}
    forgotten = session.scalar(_FORGET_FINISHED, pattern) or 0
    found = session.execute(_NAMING, pattern).all()
    for id, args, doing in found:
        if not doing:
            session.execute(_REWORD, {"id": id, "args": _reworded(order.subject, args)})
    waiting = [doing for _, _, doing in found]
    requests.count(session, order.request_id, {"jobs": forgotten + waiting.count(False)})
    return True not in waiting


def _reworded(subject: Subject, args: object) -> str:
    return json.dumps(subject.scrubbed(args)).decode()


def _note(tenant: TenantRef, order: Order) -> None:
    """What is to be erased is on the ledger before anything is gone."""
    entry = Entry(order.request_id, tenant.id, order.number_hash, order.until, None, {})
    ledger.note(entry)


def _end(tenant: TenantRef, order: Order, *, whole: bool) -> None:
    now = clock.now()
    with enter(tenant) as session:
        if not whole:
            row = session.get_one(PrivacyRequest, order.request_id, with_for_update=True)
            row.status = "waiting"
            requests.order(session, row, run_at=now + LOOK_AGAIN)
            return
        row = requests.finish(session, order.request_id, now=now)
        removed = row.result.get("removed", {})
    ledger.note(Entry(order.request_id, tenant.id, order.number_hash, order.until, now, removed))
