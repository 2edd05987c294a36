"""CSV responses for clients that request them; safe to open in spreadsheet programs."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from flask import Response, request

from vca.kit.web.schema import string

_JSON, _CSV = "application/json", "text/csv"
# The alternative response for `blp.alt_response`.
RESPONSE = {"schema": {"type": "string"}, "content_type": _CSV, "example": "kind,quantity\r\n"}
# Spreadsheet programs treat text with these prefixes as a formula.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def format_field() -> Any:
    """Return the query parameter that selects the format; by default the `Accept` header does."""
    metadata = {"description": "Response format. By default, the `Accept` header decides."}
    return string(1, 10, one_of=("json", "csv"), load_default=None, metadata=metadata)


def prefers_csv(requested_format: str | None) -> bool:
    """Return whether to respond with CSV; `requested_format` is the query parameter."""
    if requested_format is not None:
        return requested_format == "csv"
    return request.accept_mimetypes.best_match([_JSON, _CSV], default=_JSON) == _CSV


def attachment(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    extra_headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the rows as a CSV file (RFC 4180) with a header line, to be saved under this name."""
    response_headers = {
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        **(extra_headers or {}),
    }
    return Response(encode_rows(columns, rows), mimetype=_CSV, headers=response_headers)


def encode_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as CSV; text that could be a formula is prefixed with an apostrophe."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    writer.writerows([_safe_cell(row[name]) for name in columns] for row in rows)
    return buffer.getvalue()


def _safe_cell(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    cell_text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{cell_text}" if cell_text.startswith(_FORMULA_PREFIXES) else cell_text
