"""Read the audit: the newest first, one table's or two as one."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import ids
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.audit.models import PlatformEntry

# An entry's id is of the moment of its commit, by our clock; its time is the database's, of when
# the transaction began.
_APART = timedelta(hours=1)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LISTING = Listing(PlatformEntry, (PlatformEntry.id,), newest_first=True)


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """What was done in `public`, to whichever tenant."""
    return _LISTING.page(session, page, bounded(filters))


def bounded(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The same filters; a time also bounds the ids, by which a list is found and walked."""
    found = dict(filters)
    if "created_at__gt" in filters:
        found["id__gt"] = ids.ordered(max(filters["created_at__gt"] - _APART, _FIRST))
    if "created_at__lt" in filters:
        found["id__lt"] = ids.ordered(filters["created_at__lt"] + _APART)
    return found


def joined(pages: Iterable[Page], *, limit: int) -> Page:
    """Pages of the same place in several lists, as the page of the list of all of them."""
    found = list(pages)
    items = sorted((row for each in found for row in each.items), key=_id, reverse=True)
    more = len(items) > limit or any(each.next_after for each in found)
    return Page(items[:limit], (_id(items[limit - 1]),) if more else None)


def _id(row: Any) -> UUID:
    found: UUID = row.id
    return found
