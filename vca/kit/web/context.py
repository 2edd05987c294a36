"""What the API layer passes to a view: the session of the request."""

from flask import g
from sqlalchemy.orm import Session


def request_session() -> Session:
    """Return the session that the API layer opened for this request, and will commit."""
    open_session: Session = g.session
    return open_session
