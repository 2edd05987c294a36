"""A number in the spellings of people and machines: found in Python and in Postgres alike."""

from typing import Any

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from vca.tenant.privacy.data_subject import DataSubject

SUBJECT = DataSubject("+442079460018")
NAMED = (
    "+442079460018",
    "442079460018",
    "00442079460018",
    "call +44 20 7946 0018 now",
    "tel:+44-20-7946-0018;",
    "020 7946 0018",
    "(020) 7946-0018",
    "x442079460018y",
    "2079460018",
)
OTHERS = (
    "",
    "442079460019",
    "1442079460018",
    "4420794600180",
    "79460018",
    "0018",
    "44 20 then 7946 0018",
    "5ca1ab1e-0000-4000-8000-0000000000ff",
)


@pytest.mark.parametrize("said", NAMED)
def test_a_number_is_taken_out_of_a_text(acme: Tenant, said: str) -> None:
    left = SUBJECT.scrub(said)

    assert "0018" not in left
    assert "[erased]" in left
    assert SUBJECT.scrub(left) == left
    assert _in_postgres(said)
    assert not _in_postgres(left)


@pytest.mark.parametrize("said", OTHERS)
def test_another_number_stays(acme: Tenant, said: str) -> None:
    assert SUBJECT.scrub(said) == said
    assert not _in_postgres(said)


@pytest.mark.parametrize(
    ("document", "left"),
    [
        ({"to": "+442079460018", "n": 7}, {"to": "[erased]", "n": 7}),
        ({"+442079460018": [442079460018, True, None]}, {"[erased]": ["erased", True, None]}),
        ('{"to":"+442079460018","n":442079460018}', '{"to":"[erased]","n":"erased"}'),
        ("{not a document} 02079460018", "{not a document} [erased]"),
    ],
)
def test_a_number_is_taken_out_of_documents(document: Any, left: Any) -> None:
    assert SUBJECT.scrub(document) == left


@pytest.mark.parametrize(
    ("spelt", "meant"),
    [
        ("+442079460018", True),
        ("020 7946 0018", True),
        ("0044 20 79460018", True),
        ("call 020 7946 0018", False),
        ("020 7946 0019", False),
        ("", False),
    ],
)
def test_a_text_may_be_the_number_and_nothing_else(spelt: str, meant: bool) -> None:
    assert SUBJECT.equals_number(spelt) is meant


def test_a_short_national_number_is_meant_with_its_country_only() -> None:
    short = DataSubject("+3545401234")

    assert short.scrub("5401234 and +3545401234") == "5401234 and [erased]"


def _in_postgres(said: str) -> bool:
    asked = {"said": said, "pattern": SUBJECT.pattern}
    with admin_db.public_session() as session:
        return bool(session.scalar(text("SELECT CAST(:said AS text) ~ :pattern"), asked))
