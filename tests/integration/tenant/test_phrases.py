"""A tenant's own texts for the sentences that VCA says: storage, validation and precedence."""

from typing import Any

import pytest

from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.conversation.localised_phrases import PHRASE_KEYS, phrase
from vca.tenancy.session import tenant_session
from vca.tenant.settings import service
from vca.tenant.settings.phrases import MAX_TOTAL_CHARS, OwnTexts


def test_a_new_tenant_has_no_phrases(acme: Tenant) -> None:
    assert acme.get("/settings").json["phrases"] == {}


def test_phrases_are_stored_by_canonical_tag_and_merged(acme: Tenant, globex: Tenant) -> None:
    acme.patch("/settings", {"phrases": {"IT-it": {"goodbye": "Ciao.", "again": "Come?"}}})
    acme.patch("/settings", {"phrases": {"no": {"goodbye": "Ha det bra."}}})
    changed = acme.patch("/settings", {"phrases": {"it-IT": {"again": None}}}).json

    assert changed["phrases"] == {"it-IT": {"goodbye": "Ciao."}, "nb": {"goodbye": "Ha det bra."}}
    assert acme.get("/settings").json["phrases"] == changed["phrases"]
    assert acme.patch("/settings", {"phrases": {"no": None}}).json["phrases"] == {
        "it-IT": {"goodbye": "Ciao."}
    }
    assert acme.patch("/settings", {"phrases": {"it-it": {"goodbye": None}}}).json["phrases"] == {}
    assert globex.get("/settings").json["phrases"] == {}


@pytest.mark.parametrize(
    ("phrases", "pointer"),
    [
        ({"it": {"nonsense": "Ciao."}}, "/phrases/it/nonsense"),
        ({"it": {"goodbye": ""}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "  "}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "…!"}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "x" * 501}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "Ciao, {name}."}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "Ciao {."}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "<b>Ciao.</b>"}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "**Ciao.**"}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "[Ciao](https://example.com)"}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": "Ciao.\u0000"}}, "/phrases/it/goodbye"),
        ({"it": {"goodbye": 7}}, "/phrases/it/goodbye"),
        ({"it": {"hello_with_name": "Ciao."}}, "/phrases/it/hello_with_name"),
        ({"it": {"hello_with_name": "Ciao {nome}."}}, "/phrases/it/hello_with_name"),
        ({"it": {"hello_with_name": "Ciao {name} {0}."}}, "/phrases/it/hello_with_name"),
        ({"it": {"hello_with_name": "Ciao {{name}}."}}, "/phrases/it/hello_with_name"),
        ({"it": "Ciao."}, "/phrases/it"),
        ({"xx": {"goodbye": "Ciao."}}, "/phrases/xx"),
        ({"it_IT": {"goodbye": "Ciao."}}, "/phrases/it_IT"),
        ({"italiano!": {"goodbye": "Ciao."}}, "/phrases/italiano!"),
        (["it"], "/phrases"),
    ],
)
def test_invalid_phrases_are_rejected_with_their_pointer(
    acme: Tenant, phrases: Any, pointer: str
) -> None:
    response = acme.patch("/settings", {"phrases": phrases})

    assert response.status_code == 400, response.text
    assert response.json["errors"][0]["pointer"].startswith(pointer)
    assert acme.get("/settings").json["phrases"] == {}


def test_phrases_have_a_total_maximum(acme: Tenant) -> None:
    text = "Ciao " * 100
    languages = ("it", "fr", "es", "pt", "ro")
    phrases = {
        tag: {name: text for name in PHRASE_KEYS if name != "hello_with_name"} for tag in languages
    }
    assert sum(len(text.strip()) for texts in phrases.values() for _ in texts) > MAX_TOTAL_CHARS

    response = acme.patch("/settings", {"phrases": phrases})

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/phrases"
    assert acme.get("/settings").json["phrases"] == {}


def test_a_phrase_is_stored_as_one_clean_line(acme: Tenant) -> None:
    response = acme.patch("/settings", {"phrases": {"it": {"goodbye": "  Ciao\n e grazie. "}}})

    assert response.json["phrases"] == {"it": {"goodbye": "Ciao e grazie."}}


def test_sentences_that_are_sent_back_stay_the_defaults(acme: Tenant) -> None:
    acme.patch("/settings", {"sentences": {"closed": "Back at nine."}})
    displayed = acme.get("/settings").json["sentences"]

    acme.patch("/settings", {"sentences": displayed})

    assert acme.get("/settings").json["sentences"] == displayed
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert service.get(session).sentences == {"closed": "Back at nine."}


@pytest.mark.parametrize(
    ("sentences", "phrases", "expected"),
    [
        ({}, {}, phrase("closed", "it")),
        ({"closed": "Any."}, {}, "Any."),
        ({"closed": "Any."}, {"it": {"closed": "Chiuso."}}, "Chiuso."),
        ({}, {"it": {"closed": "Chiuso."}}, "Chiuso."),
        ({"closed": "Any."}, {"de": {"closed": "Zu."}}, "Any."),
        ({"fallback": "Any."}, {"it": {"goodbye": "Ciao."}}, phrase("closed", "it")),
    ],
)
def test_the_most_specific_sentence_is_spoken(
    sentences: dict[str, str], phrases: dict[str, dict[str, str]], expected: str
) -> None:
    chosen = OwnTexts(sentences, phrases).sentence("closed", "it-CH")

    assert chosen == expected
