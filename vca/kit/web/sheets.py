"""Answers as CSV, for who asks for it; safe to be opened where cells may be formulas."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from flask import Response, request

from vca.kit.web.schema import text

_JSON, _CSV = "application/json", "text/csv"
# The other form of an answer, for `blp.alt_response`.
RESPONSE = {"schema": {"type": "string"}, "content_type": _CSV, "example": "kind,quantity\r\n"}
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def asked() -> Any:
    """The query parameter that asks for CSV; without it the `Accept` header does."""
    described = {"description": "Default: by `Accept`, which may prefer `text/csv`."}
    return text(1, 10, one_of=("json", "csv"), load_default=None, metadata=described)


def wanted(given: str | None) -> bool:
    """Whether the answer is to be CSV; `given` is the query parameter."""
    if given is not None:
        return given == "csv"
    return request.accept_mimetypes.best_match([_JSON, _CSV], default=_JSON) == _CSV


def answer(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The rows under their columns' names, RFC 4180, as a file of that name."""
    kept = {"Content-Disposition": f'attachment; filename="{name}.csv"', **(headers or {})}
    return Response(written(columns, rows), mimetype=_CSV, headers=kept)


def written(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as CSV. Text that could be a formula begins with an apostrophe; numbers cannot."""
    out = StringIO(newline="")
    sheet = csv.writer(out)
    sheet.writerow(columns)
    sheet.writerows([_cell(row[name]) for name in columns] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    shown = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
