"""Read audit entries, newest first, from one table or from two as one list."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import ids
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.audit.models import PlatformAuditEntry

# An entry's id contains the time of its commit, by this server's clock. Its `created_at` is the
# database's time at the beginning of the transaction. The two differ by less than this.
_MAX_CLOCK_SKEW = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTING = Listing(PlatformAuditEntry, (PlatformAuditEntry.id,), newest_first=True)


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the platform's audit entries, of all tenants."""
    return _LISTING.page(session, page, bound_ids(filters))


def bound_ids(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters with bounds for the ids added to bounds for the time.

    Lists are ordered by id, so the bounds let the index find the rows.
    """
    bounded_filters = dict(filters)
    if "created_at__gt" in filters:
        bounded_filters["id__gt"] = ids.uuid7(
            max(filters["created_at__gt"] - _MAX_CLOCK_SKEW, _EPOCH)
        )
    if "created_at__lt" in filters:
        bounded_filters["id__lt"] = ids.uuid7(filters["created_at__lt"] + _MAX_CLOCK_SKEW)
    return bounded_filters


def merge_pages(pages: Iterable[Page], *, limit: int) -> Page:
    """Merge pages of several lists, which begin at the same key, into one page."""
    page_list = list(pages)
    items = sorted((row for page in page_list for row in page.items), key=_row_id, reverse=True)
    has_more = len(items) > limit or any(page.next_after for page in page_list)
    return Page(items[:limit], (_row_id(items[limit - 1]),) if has_more else None)


def _row_id(row: Any) -> UUID:
    row_id: UUID = row.id
    return row_id
