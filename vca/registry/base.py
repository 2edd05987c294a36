"""The declarative base of the public schema; every table name is qualified."""

from sqlalchemy.orm import DeclarativeBase

from vca.kit import db


class PublicBase(DeclarativeBase):
    """A table of `public`, the same one in the transactions of all tenants."""

    metadata = db.metadata("public")
