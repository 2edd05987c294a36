"""What the API layer passes to a view: the session of the request, and a place to call out."""

from contextlib import AbstractContextManager

from flask import g
from sqlalchemy.orm import Session

from vca.kit.paging import RowReader


def request_session() -> Session:
    """Return the session that the API layer opened for this request, and will commit."""
    open_session: Session = g.session
    return open_session


def request_reader() -> RowReader:
    """Return what the API layer opened for an operation that only reads its tenant."""
    reader: RowReader = g.reader
    return reader


def calling_out() -> AbstractContextManager[object]:
    """Hold a place for a call to another system. Raises Busy.

    For operations that declare `calls_out=False`.
    """
    place: AbstractContextManager[object] = g.calling_out()
    return place
