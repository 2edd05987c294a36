"""Everything that a tenant keeps of one person as one file: a zip of JSON documents and audio.

It is written to a file of this machine first, a call at a time, and lies in the store, in the
tenant's own folder, for a day.
"""

import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import clock, jobs, json, log, storage
from vca.kit.storage import Missing, StorageError
from vca.kit.storage.store import CHUNK
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.calls.models import Call, Event, OutboundLeg, Turn
from vca.tenant.messages.models import Message
from vca.tenant.privacy import finding, mentions, requests
from vca.tenant.privacy.finding import Theirs
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.requests import Order
from vca.tenant.recordings import audio
from vca.tenant.recordings.models import Recording
from vca.tenant.webhooks.models import Delivery

EXPIRE = "privacy.expire"
KEPT = timedelta(days=1)
TRY_AGAIN = timedelta(seconds=300)
TYPE = "application/zip"
# What of a row says nothing about the person.
_OURS = ("tenant_id", "storage_key")


def export(tenant: TenantRef, *, request_id: UUID) -> None:
    """Write an export's file and keep it for a day; what fails is tried again."""
    with enter(tenant) as session:
        order = requests.read(session, tenant, request_id=request_id)
    if order is None:
        return
    key = key_of(tenant, request_id)
    try:
        with TemporaryFile() as file:
            counts = _written(tenant, order, file)
            file.seek(0)
            chunks = iter(partial(file.read, CHUNK), b"")
            stored = storage.current().put(key, chunks, content_type=TYPE)
        with enter(tenant) as session:
            wanted = _finish(session, request_id, counts, size_bytes=stored.size_bytes)
        if not wanted:  # erased meanwhile
            storage.current().delete(key)
    except StorageError as error:
        _again(tenant, request_id, error)


def expire(tenant: TenantRef, *, request_id: UUID) -> None:
    """Delete an export's file; what fails is tried again."""
    try:
        storage.current().delete(key_of(tenant, request_id))
    except StorageError as error:
        log.get().warning("privacy.export_kept", request_id=str(request_id), exc_info=error)
        with enter(tenant) as session:
            _order_expiry(session, request_id, at=clock.now() + TRY_AGAIN)
        return
    with enter(tenant) as session:
        row = session.get(PrivacyRequest, request_id, with_for_update=True)
        if row is not None:
            row.status, row.sealed_number = "expired", None


def withdraw(tenant: TenantRef, *, hashes: Collection[str]) -> None:
    """Delete the files that were written of a person who is erased. Raises StorageError."""
    theirs = PrivacyRequest.kind == "export", PrivacyRequest.number_hash.in_(hashes)
    with enter(tenant) as session:
        rows = session.scalars(select(PrivacyRequest).where(*theirs).with_for_update()).all()
        for row in rows:
            row.status, row.sealed_number = "expired", None
    for row in rows:
        storage.current().delete(key_of(tenant, row.id))


def key_of(tenant: TenantRef, request_id: UUID) -> str:
    """Where an export's file is."""
    return f"{audio.folder_of(tenant)}/exports/{request_id.hex}.zip"


def _finish(session: Session, request_id: UUID, counts: dict[str, int], *, size_bytes: int) -> bool:
    """Whether the file is wanted still."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True)
    if row.sealed_number is None:
        return row.status == "done"  # by the same job, running twice
    now = clock.now()
    requests.finish(session, request_id, now=now)
    requests.note(session, request_id, holds=counts, size_bytes=size_bytes)
    _order_expiry(session, request_id, at=now + KEPT)
    return True


def _order_expiry(session: Session, request_id: UUID, *, at: datetime) -> None:
    jobs.enqueue(session, EXPIRE, run_at=at, lock=f"{EXPIRE}:{request_id}", request_id=request_id)


def _again(tenant: TenantRef, request_id: UUID, error: StorageError) -> None:
    log.get().warning("privacy.export_delayed", request_id=str(request_id), exc_info=error)
    with enter(tenant) as session:
        row = session.get_one(PrivacyRequest, request_id)
        requests.order(session, row, run_at=clock.now() + TRY_AGAIN)


def _written(tenant: TenantRef, order: Order, file: BinaryIO) -> dict[str, int]:
    """Write everything; how many there are of each kind."""
    counts = dict.fromkeys(("calls", "recordings", "messages", "mentions"), 0)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with enter(tenant) as session:
            theirs = finding.calls(session, order.subject, until=order.until)
        for batch in finding.batches(theirs):
            with enter(tenant) as session:
                told = _told(session, batch)
            for call in batch:
                counts["calls"] += 1
                counts["recordings"] += _add_call(tenant, archive, call, told)
        counts["messages"] = _add_messages(tenant, archive, order)
        places = [_place(it) for it in mentions.find(tenant, order.subject, until=order.until)]
        counts["mentions"] = len(places)
        archive.writestr("mentions.json", json.dumps(places))
        about = {"number": order.subject.number, "until": order.until, "holds": counts}
        archive.writestr("export.json", json.dumps(about))
    return counts


def _add_call(
    tenant: TenantRef, archive: zipfile.ZipFile, call: Theirs, told: Mapping[str, list[Any]]
) -> int:
    """One document of a call with all that is on record of it, and its audio; how much of that."""
    with enter(tenant) as session:
        recordings = session.scalars(select(Recording).filter_by(call_id=call.call_id)).all()
        document = {
            **_shown(session.get_one(Call, call.call_id)),
            "events": _of(session, Event, call, Event.timestamp, Event.position, Event.id),
            "turns": _of(session, Turn, call, Turn.sequence),
            "dialled": _of(session, OutboundLeg, call, OutboundLeg.created_at),
            "recordings": [_shown(row) for row in recordings],
            "told": told.get(str(call.call_id), []),
        }
    archive.writestr(f"calls/{call.call_id}.json", json.dumps(document))
    return sum(_add_audio(tenant, archive, row) for row in recordings)


def _add_audio(tenant: TenantRef, archive: zipfile.ZipFile, row: Recording) -> bool:
    key = row.storage_key
    if row.status != "stored" or key is None or not audio.is_own(tenant, key):
        return False
    extension = audio.EXTENSIONS[audio.type_of(row.content_type or "")]
    name = f"audio/{row.call_id}-{row.kind}.{extension}"
    try:
        with closing(storage.current().open(key)) as chunks, archive.open(name, "w") as member:
            for chunk in chunks:
                member.write(chunk)
    except Missing:  # an import brings no audio
        return False
    return True


def _add_messages(tenant: TenantRef, archive: zipfile.ZipFile, order: Order) -> int:
    with enter(tenant) as session:
        ids = finding.messages(session, order.subject, until=order.until)
        found = select(Message).where(finding.one_of(Message.id, ids))
        rows = session.scalars(found.order_by(Message.created_at, Message.id)).all()
        archive.writestr("messages.json", json.dumps([_shown(row) for row in rows]))
    return len(rows)


def _told(session: Session, calls: Sequence[Theirs]) -> Mapping[str, list[Any]]:
    """What the tenant's endpoints were sent of calls, by the calls' ids."""
    call_id = Delivery.payload["data"]["call_id"].astext
    of_calls = call_id.in_([str(call.call_id) for call in calls])
    found: dict[str, list[Any]] = defaultdict(list)
    sent = select(call_id, Delivery.payload).where(of_calls).order_by(Delivery.created_at)
    for of_call, payload in session.execute(sent):
        found[of_call].append(payload)
    return found


def _of(session: Session, table: Any, call: Theirs, *order: Any) -> list[dict[str, Any]]:
    rows = session.scalars(select(table).filter_by(call_id=call.call_id).order_by(*order))
    return [_shown(row) for row in rows]


def _shown(row: Any) -> dict[str, Any]:
    """A row as it stands in its table, but for what is about us."""
    columns: Iterator[str] = (it.name for it in row.__table__.columns)
    return {name: getattr(row, name) for name in columns if name not in _OURS}


def _place(mention: mentions.Mention) -> dict[str, Any]:
    """Where the number stands: the words around it may be somebody else's."""
    return {"table": mention.table, "key": mention.key, "columns": mention.columns}
