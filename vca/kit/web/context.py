"""What the edge hands to a view: the open session of its request."""

from flask import g
from sqlalchemy.orm import Session


def request_session() -> Session:
    """The session that the edge opened for this operation, and will commit."""
    open_session: Session = g.session
    return open_session
