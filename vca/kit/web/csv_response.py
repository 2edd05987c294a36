"""Answers as CSV, for who asks for it; safe to be opened where cells may be formulas."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from flask import Response, request

from vca.kit.web.schema import string

_JSON, _CSV = "application/json", "text/csv"
# The other form of an answer, for `blp.alt_response`.
RESPONSE = {"schema": {"type": "string"}, "content_type": _CSV, "example": "kind,quantity\r\n"}
# What a spreadsheet takes for the beginning of a formula.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def format_field() -> Any:
    """The query parameter that asks for CSV; without it the `Accept` header does."""
    metadata = {"description": "Default: by `Accept`, which may prefer `text/csv`."}
    return string(1, 10, one_of=("json", "csv"), load_default=None, metadata=metadata)


def prefers_csv(requested_format: str | None) -> bool:
    """Whether the answer is to be CSV; `given` is the query parameter."""
    if requested_format is not None:
        return requested_format == "csv"
    return request.accept_mimetypes.best_match([_JSON, _CSV], default=_JSON) == _CSV


def attachment(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    extra_headers: Mapping[str, str] | None = None,
) -> Response:
    """The rows under their columns' names, RFC 4180, as a file of that name."""
    response_headers = {
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        **(extra_headers or {}),
    }
    return Response(encode_rows(columns, rows), mimetype=_CSV, headers=response_headers)


def encode_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as CSV. Text that could be a formula begins with an apostrophe; numbers cannot."""
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
