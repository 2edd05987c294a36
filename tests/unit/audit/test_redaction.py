"""Tests of the redaction of changes in the audit log: columns are withheld unless allowed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import DateTime, LargeBinary, Text, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import JSON

from vca.audit import redaction
from vca.audit.redaction import HASHED, PLAIN, WITHHELD

HASH_KEY = "the key of these tests"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Base(DeclarativeBase):
    """The declarative base of these tests."""


class Card(Base):
    """A table with a column of each kind."""

    __tablename__ = "cards"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    colour: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    number: Mapped[str | None] = mapped_column(Text, info=HASHED)
    name: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_new: Mapped[bool | None]
    count: Mapped[int | None]
    share: Mapped[float | None]
    holder_id: Mapped[UUID | None]
    made_at: Mapped[datetime | None] = mapped_column(DateTime)


@pytest.fixture
def stored_card() -> Iterator[Card]:
    """Store a card and yield it in its session."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        card = Card(id=uuid4(), colour="red", number="+14155550100", name="Ann", count=1)
        session.add(card)
        session.flush()
        yield card
    engine.dispose()


def test_changes_of_plain_values_are_shown(stored_card: Card) -> None:
    holder_id = uuid4()

    stored_card.is_new, stored_card.count, stored_card.share, stored_card.holder_id = (
        True,
        2,
        0.5,
        holder_id,
    )
    stored_card.made_at, stored_card.colour = NOON, "blue"

    assert redaction.pending_changes(stored_card, HASH_KEY) == {
        "colour": {"from": "red", "to": "blue"},
        "is_new": {"from": None, "to": True},
        "count": {"from": 1, "to": 2},
        "share": {"from": None, "to": 0.5},
        "holder_id": {"from": None, "to": holder_id},
        "made_at": {"from": None, "to": NOON},
    }


@pytest.mark.parametrize(
    ("column", "value"), [("name", "Bob"), ("notes", {"of": 1}), ("secret", b"whsec")]
)
def test_texts_documents_and_bytes_are_withheld_by_default(
    column: str, value: Any, stored_card: Card
) -> None:
    setattr(stored_card, column, value)

    assert redaction.pending_changes(stored_card, HASH_KEY) == {column: WITHHELD}


def test_a_hashed_column_is_shown_as_hashes(stored_card: Card) -> None:
    stored_card.number = "+14155550101"

    change = redaction.pending_changes(stored_card, HASH_KEY)["number"]

    assert change == {
        "from_hash": redaction.hash_text("+14155550100", HASH_KEY),
        "to_hash": redaction.hash_text("+14155550101", HASH_KEY),
    }
    assert change["from_hash"] != change["to_hash"]


def test_a_hash_depends_on_the_key() -> None:
    number = "+14155550100"

    assert redaction.hash_text(number, "another key") != redaction.hash_text(number, HASH_KEY)


def test_an_equal_value_is_no_change(stored_card: Card) -> None:
    stored_card.colour = "red"

    assert redaction.pending_changes(stored_card, HASH_KEY) == {}


def test_two_changes_of_one_row_are_merged() -> None:
    first = {"count": redaction.plain_change(1, 2), "name": WITHHELD}
    second = {
        "count": redaction.plain_change(2, 3),
        "colour": redaction.plain_change("red", "blue"),
    }

    assert redaction.merge_changes(first, second) == {
        "count": {"from": 1, "to": 3},
        "name": WITHHELD,
        "colour": {"from": "red", "to": "blue"},
    }
