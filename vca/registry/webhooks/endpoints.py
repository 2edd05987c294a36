"""Register, list, change and remove endpoints, and change their secrets."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from vca.kit import at_rest, standard_webhooks
from vca.kit.at_rest import CannotOpen
from vca.kit.errors import Conflict, InvalidInput, NotFound
from vca.kit.http import OutgoingClient, Refused, Unreachable
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.webhooks.box import Box
from vca.registry.webhooks.columns import EndpointColumns

MOST = 20
# Both secrets sign for so long, for receivers that are not changed at the same moment.
OVERLAP = timedelta(hours=24)
CHECK_TIMEOUT_S = 5.0
# Whoever tells an event refers to the endpoints, and does not wait for who changes one or sends.
HELD = {"key_share": True}


class TooManyWebhooks(Conflict):
    """There are as many endpoints as there may be."""

    code = "too-many-webhooks"

    def __init__(self) -> None:
        super().__init__(f"There are {MOST} webhooks already: remove one first.")


def check_url(url: str, *, client: OutgoingClient) -> None:
    """Refuse a URL that is never sent to; asks the name service. Raises InvalidInput."""
    try:
        client.check(url, timeout_s=CHECK_TIMEOUT_S)
    except (Refused, Unreachable) as error:
        raise InvalidInput.field("url", str(error)) from error


def create(session: Session, box: Box, **fields: Any) -> tuple[EndpointColumns, str]:
    """Register an endpoint; its secret is known only now. Raises TooManyWebhooks."""
    if (session.scalar(select(func.count()).select_from(box.endpoints)) or 0) >= MOST:
        raise TooManyWebhooks
    webhook_id, secret = uuid4(), standard_webhooks.new_secret()
    sealed = at_rest.current().seal(secret, box.place(webhook_id, "secret"))
    row = box.endpoints(**{"events": [], "is_active": True, **fields}, id=webhook_id, secret=sealed)
    session.add(row)
    session.flush()
    return row, secret


def list_page(session: Session, box: Box, *, page: PageRequest) -> Page:
    """The endpoints in the order of their making."""
    return _listing(box).page(session, page)


def get(session: Session, box: Box, *, webhook_id: UUID, for_update: bool = False) -> Any:
    """One endpoint, held `for_update`; raises NotFound."""
    held = HELD if for_update else None
    row = session.get(box.endpoints, webhook_id, with_for_update=held, populate_existing=for_update)
    if row is None:
        raise NotFound
    return row


def change(
    session: Session, box: Box, *, webhook_id: UUID, now: datetime, **fields: Any
) -> EndpointColumns:
    """Change what is given. One that is made active again has its failures forgiven.

    Raises NotFound.
    """
    row: EndpointColumns = get(session, box, webhook_id=webhook_id, for_update=True)
    was_active = row.is_active
    for name, value in fields.items():
        setattr(row, name, value)
    if row.is_active and (not was_active or "url" in fields):
        row.disabled_reason = row.disabled_at = row.failing_since = row.paused_until = None
        row.failures = 0
        wake(session, box, webhook_id=webhook_id)
    row.updated_at = now
    session.flush()
    return row


def remove(session: Session, box: Box, *, webhook_id: UUID) -> None:
    """Forget an endpoint and its deliveries. Raises NotFound."""
    get(session, box, webhook_id=webhook_id, for_update=True)
    session.execute(delete(box.endpoints).where(box.endpoints.id == webhook_id))


def rotate_secret(
    session: Session, box: Box, *, webhook_id: UUID, now: datetime
) -> tuple[EndpointColumns, str]:
    """Give an endpoint a new secret; the one before signs too for a day. Raises NotFound.

    Changed twice within the day, the first of the three is forgotten, and so is one that our keys
    do not open.
    """
    row: EndpointColumns = get(session, box, webhook_id=webhook_id, for_update=True)
    keys, secret = at_rest.current(), standard_webhooks.new_secret()
    row.previous_secret = row.previous_secret_until = None
    with suppress(CannotOpen):
        before = keys.open(row.secret, box.place(webhook_id, "secret"))
        row.previous_secret = keys.seal(before, box.place(webhook_id, "previous_secret"))
        row.previous_secret_until = now + OVERLAP
    row.secret = keys.seal(secret, box.place(webhook_id, "secret"))
    row.updated_at = now
    session.flush()
    wake(session, box, webhook_id=webhook_id)  # what could not be signed waits
    return row, secret


def secrets(box: Box, row: EndpointColumns, *, now: datetime) -> list[str]:
    """What signs at this moment, the newest first."""
    keys = at_rest.current()
    found = [keys.open(row.secret, box.place(row.id, "secret"))]
    until = row.previous_secret_until
    if row.previous_secret is not None and until is not None and now < until:
        found.append(keys.open(row.previous_secret, box.place(row.id, "previous_secret")))
    return found


def wake(session: Session, box: Box, *, webhook_id: UUID, at: datetime | None = None) -> None:
    """Have what is due to an endpoint sent, now or then.

    Not under a lock of the queue's: whoever tells an event would wait for whoever told the one
    before. A job that finds nothing to do is cheap; of later ones there is one in five seconds.
    """
    lock = f"webhooks:{webhook_id}:{int(at.timestamp()) // 5}" if at is not None else None
    box.order(session, webhook_id=webhook_id, at=at, lock=lock)


def _listing(box: Box) -> Listing:
    table: Any = box.endpoints
    return Listing(table, (table.created_at, table.id))
