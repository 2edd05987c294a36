"""Pagination over HTTP: plain arrays, a signed cursor, the next page in the `Link` header."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import current_app, request
from marshmallow import fields, validate

from vca.kit import crypto
from vca.kit.errors import FieldError, InvalidInput
from vca.kit.paging import DEFAULT_LIMIT, Page, PageRequest
from vca.kit.web.schema import QueryInteger, Schema


class PageQuery(Schema):
    """Query parameters of every list; lists add their filters by inheritance."""

    limit = QueryInteger(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, 100),
        metadata={"description": "Maximum number of items to return."},
    )
    cursor = fields.String(
        load_default=None,
        validate=validate.Length(1, 500),
        metadata={"description": "Start of the page, from the `Link` header of the previous page."},
    )


def parse_page_request(query: dict[str, Any]) -> PageRequest:
    """Return the page that a loaded query requests; removes `limit` and `cursor` from the query."""
    limit, cursor = query.pop("limit"), query.pop("cursor")
    if cursor is None:
        return PageRequest(limit)
    try:
        values = crypto.unsign(_secret(), cursor, purpose=_purpose(query))
    except crypto.BadSignature:
        error = FieldError("/cursor", "The cursor does not belong to this list.", "query")
        raise InvalidInput("The query is not valid.", errors=[error]) from None
    return PageRequest(limit, tuple(_decode(kind, value) for kind, value in values))


def page_response(page: Page, filters: dict[str, Any]) -> Any:
    """Return the items, with a `Link` header if another page follows, for flask-smorest."""
    if page.next_after is None:
        return page.items
    values = [_encode(value) for value in page.next_after]
    cursor = crypto.sign(_secret(), values, purpose=_purpose(filters))
    query = urlencode({**request.args.to_dict(), "cursor": cursor})
    return page.items, {"Link": f'<{public_url(request.path)}?{query}>; rel="next"'}


def public_url(path: str) -> str:
    """Return the public URL of a path, from the configured base URL, never the Host header."""
    return f"{current_app.config['PUBLIC_BASE_URL']}{path}"


def _secret() -> str:
    return str(current_app.config["SECRET_KEY"])


def _purpose(filters: dict[str, Any]) -> str:
    """Bind a cursor to its path, which names the tenant, and to the filters of its list."""
    return f"cursor|{request.path}|{sorted((name, str(value)) for name, value in filters.items())}"


def _encode(value: Any) -> tuple[str, Any]:
    if isinstance(value, datetime):
        return "t", value.isoformat()
    if isinstance(value, UUID):
        return "u", value.hex
    return "v", value


def _decode(kind: str, value: Any) -> Any:
    match kind:
        case "t":
            return datetime.fromisoformat(value)
        case "u":
            return UUID(value)
    return value
