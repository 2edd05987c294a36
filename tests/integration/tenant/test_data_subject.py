"""Tests of DataSubject: Python and Postgres find a number in all of its spellings."""

from typing import Any

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from vca.tenant.privacy.data_subject import DataSubject

SUBJECT = DataSubject("+442079460018")
MATCHING_TEXTS = (
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
OTHER_TEXTS = (
    "",
    "442079460019",
    "1442079460018",
    "4420794600180",
    "79460018",
    "0018",
    "44 20 then 7946 0018",
    "5ca1ab1e-0000-4000-8000-0000000000ff",
)


@pytest.mark.parametrize("value", MATCHING_TEXTS)
def test_a_number_is_removed_from_a_text(acme: Tenant, value: str) -> None:
    scrubbed = SUBJECT.scrub(value)

    assert "0018" not in scrubbed
    assert "[erased]" in scrubbed
    assert SUBJECT.scrub(scrubbed) == scrubbed
    assert _matches_in_postgres(value)
    assert not _matches_in_postgres(scrubbed)


@pytest.mark.parametrize("value", OTHER_TEXTS)
def test_another_number_is_not_removed(acme: Tenant, value: str) -> None:
    assert SUBJECT.scrub(value) == value
    assert not _matches_in_postgres(value)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"to": "+442079460018", "n": 7}, {"to": "[erased]", "n": 7}),
        ({"+442079460018": [442079460018, True, None]}, {"[erased]": ["erased", True, None]}),
        ('{"to":"+442079460018","n":442079460018}', '{"to":"[erased]","n":"erased"}'),
        ("{not a document} 02079460018", "{not a document} [erased]"),
    ],
)
def test_a_number_is_removed_from_documents(document: Any, expected: Any) -> None:
    assert SUBJECT.scrub(document) == expected


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("+442079460018", True),
        ("020 7946 0018", True),
        ("0044 20 79460018", True),
        ("call 020 7946 0018", False),
        ("020 7946 0019", False),
        ("", False),
    ],
)
def test_a_text_equals_the_number_only_without_other_words(spelling: str, expected: bool) -> None:
    assert SUBJECT.equals_number(spelling) is expected


def test_a_short_national_number_matches_only_with_its_country_code() -> None:
    subject = DataSubject("+3545401234")

    assert subject.scrub("5401234 and +3545401234") == "5401234 and [erased]"


def _matches_in_postgres(value: str) -> bool:
    parameters = {"value": value, "pattern": SUBJECT.pattern}
    with admin_db.public_session() as session:
        return bool(session.scalar(text("SELECT CAST(:value AS text) ~ :pattern"), parameters))
