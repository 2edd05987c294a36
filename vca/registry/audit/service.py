"""Read the audit: the newest first, one table's or two as one."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import ids
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.audit.models import PlatformAuditEntry

# An entry's id is of the moment of its commit, by our clock; its time is the database's, of when
# the transaction began.
_MAX_CLOCK_SKEW = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTING = Listing(PlatformAuditEntry, (PlatformAuditEntry.id,), newest_first=True)


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """What was done in `public`, to whichever tenant."""
    return _LISTING.page(session, page, bound_ids(filters))


def bound_ids(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The same filters; a time also bounds the ids, by which a list is found and walked."""
    bounded_filters = dict(filters)
    if "created_at__gt" in filters:
        bounded_filters["id__gt"] = ids.uuid7(
            max(filters["created_at__gt"] - _MAX_CLOCK_SKEW, _EPOCH)
        )
    if "created_at__lt" in filters:
        bounded_filters["id__lt"] = ids.uuid7(filters["created_at__lt"] + _MAX_CLOCK_SKEW)
    return bounded_filters


def merge_pages(pages: Iterable[Page], *, limit: int) -> Page:
    """Pages of the same place in several lists, as the page of the list of all of them."""
    page_list = list(pages)
    items = sorted((row for each in page_list for row in each.items), key=_row_id, reverse=True)
    has_more = len(items) > limit or any(each.next_after for each in page_list)
    return Page(items[:limit], (_row_id(items[limit - 1]),) if has_more else None)


def _row_id(row: Any) -> UUID:
    row_id: UUID = row.id
    return row_id
