"""The declarative base of the public schema; every name is qualified, always."""

from sqlalchemy.orm import DeclarativeBase

from vca.kit import db


class PublicBase(DeclarativeBase):
    """A table of `public`, the same one whichever tenant a transaction is in."""

    metadata = db.metadata("public")
