"""A number in other callers' texts is erased and exported as speech recognition writes it."""

import io
import zipfile
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.integration.tenant.message_factory import create_message
from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.spoken_numbers import spellings
from vca.kit import json
from vca.kit.spoken_digits import preselection_pattern
from vca.tenant.privacy import table_scan

NUMBER, OTHER_CALLER = "+14155550123", "+14155550199"
SPELLINGS = (
    "415, 555, 0123",
    "4 1 5, 5 5 5, 0 1 2 3",
    "four one five five five five zero one two three",
    "415 555 oh 123",
    "415  -  555  -  0123",
    "415_555_0123",
    "415…555…0123",
    "４１５ ５５５ ０１２３",
    "٤١٥ ٥٥٥ ٠١٢٣",
    "+1 (415) 555-0123",
    "vierhundertfünfzehn, fünf fünf fünf, null eins dreiundzwanzig",
    "quatre cent quinze cinq cent cinquante-cinq zéro un vingt-trois",
)


@pytest.fixture
def mentioning_tenant(acme: Tenant) -> Tenant:
    """Return Acme with messages of another caller, each with a spelling of the number."""
    for spelling in SPELLINGS:
        create_message(acme, caller_number=OTHER_CALLER, reason=f"Tell her at {spelling}, please.")
    create_message(acme, caller_number=OTHER_CALLER, reason="Tell her at 415, 555, 0124, please.")
    return acme


def _erase(tenant: Tenant, world: Factory, number: str = NUMBER) -> dict[str, Any]:
    response = tenant.post("/privacy/erase", {"number": number})
    world.run_jobs(tenant)
    erasure: dict[str, Any] = tenant.api.get(response.headers["Location"]).json
    return erasure


def test_every_spelling_is_erased_from_other_callers_texts(
    mentioning_tenant: Tenant, world: Factory
) -> None:
    erasure = _erase(mentioning_tenant, world)

    reasons = [message["reason"] for message in mentioning_tenant.get("/messages").json]
    assert sorted(set(reasons)) == [
        "Tell her at 415, 555, 0124, please.",
        "Tell her at [erased], please.",
    ]
    assert erasure["removed"]["mentions"] == len(SPELLINGS)


def test_every_spelling_is_exported_as_a_mention(mentioning_tenant: Tenant, world: Factory) -> None:
    export_url = mentioning_tenant.post("/privacy/export", {"number": NUMBER}).headers["Location"]
    world.run_jobs(mentioning_tenant)

    content = mentioning_tenant.api.get(f"{export_url}/file").data
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        mentions = json.loads(archive.read("mentions.json"))
    assert [mention["columns"] for mention in mentions] == [["reason"]] * len(SPELLINGS)


def test_a_message_with_the_call_back_number_in_words_is_erased(
    acme: Tenant, world: Factory
) -> None:
    in_words = "four one five, triple five, 0123"
    create_message(acme, caller_number=None, callback_number=in_words)

    erasure = _erase(acme, world)

    assert acme.get("/messages").json == []
    assert erasure["removed"]["messages"] == 1


def test_an_erasure_names_the_languages_whose_number_words_are_unknown(
    acme: Tenant, world: Factory
) -> None:
    for language in ("de-AT", "eu-ES", "ca", "no", "nn-NO", "zh-yue", "en"):
        acme.profile(language=language)
    acme.profile(turn={"languages": [{"language": "es-MX"}, {"language": "hr-HR"}]})

    remains = {entry["where"]: entry for entry in _erase(acme, world)["remains"]}

    assert remains["languages"]["detail"].endswith("in languages of AI profiles: ca, eu, hr.")
    assert "short_number" not in remains


def test_an_erasure_of_a_short_number_says_that_its_national_form_remains(
    acme: Tenant, world: Factory
) -> None:
    create_message(acme, caller_number=OTHER_CALLER, reason="321000 or +299 32 10 00")

    remains = {entry["where"] for entry in _erase(acme, world, "+299321000")["remains"]}

    assert "short_number" in remains
    [message] = acme.get("/messages").json
    assert message["reason"] == "321000 or [erased]"


def test_a_row_that_another_transaction_has_scrubbed_meanwhile_stays(
    acme: Tenant, world: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_message(acme, caller_number=OTHER_CALLER, reason=f"Tell her at {SPELLINGS[0]}.")
    lock_rows = table_scan.lock_rows

    def scrub_and_lock_rows(session: Session, *arguments: Any) -> Any:
        session.execute(text("UPDATE messages SET reason = 'Gone.'"))
        return lock_rows(session, *arguments)

    monkeypatch.setattr(table_scan, "lock_rows", scrub_and_lock_rows)

    erasure = _erase(acme, world)

    [message] = acme.get("/messages").json
    assert (message["reason"], erasure["removed"]["mentions"]) == ("Gone.", 0)


def test_a_search_reads_large_tables_in_windows(
    mentioning_tenant: Tenant, world: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_scan, "WINDOW_ROWS", 2)

    erasure = _erase(mentioning_tenant, world)

    assert erasure["removed"]["mentions"] == len(SPELLINGS)


def test_postgres_selects_every_spelling(acme: Tenant) -> None:
    texts = [spelling.text for spelling in spellings(NUMBER[2:], rng=Random(1))]
    texts += [*SPELLINGS, "en tres quatre", "zeroonetwothree", "four 1 five 5 five 5 zero"]
    texts += ["一 三 八 零 零 一 三 八", "一、三、八、零、零、一、三、八", "공 일 공, 이 삼 사 오"]
    query = text("SELECT t FROM unnest(CAST(:texts AS text[])) t WHERE NOT t ~ :pattern")

    with admin_db.public_session() as session:
        missed = session.scalars(query, {"texts": texts, "pattern": preselection_pattern()}).all()

    assert missed == []
