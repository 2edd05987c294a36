"""Tests of VCA's own sentences: catalogues, tenants' own texts, and what carriers are given."""

import pytest
from babel import Locale

from tests.contract.suites.telephony import CALLBACK
from tests.fakes.carriers.twilio.connected_twilio import STATE_SIGNER
from vca.conversation import localised_phrases, speech_text
from vca.conversation.localised_phrases import (
    LOCALE_FOLDER,
    PHRASE_KEYS,
    PHRASES,
    PhraseKey,
    phrase,
    placeholders,
    select_overrides,
    translated_languages,
)
from vca.conversation.types import Profile
from vca.devtools import catalogues
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioUrls
from vca.telephony.types import CallReply, HangUp, Say

PATHS = {path.parts[-3]: path for path in catalogues.catalogue_paths()}
# Words of the English texts that mean the same in another language, or are names.
SHARED_WORDS = {"sorry", "name", "moment", "problem", "in", "is", "at", "an", "on", "me", "a", "i"}
ADAPTERS: tuple[TelephonyAdapter, ...] = (
    TwilioAdapter((), TwilioUrls(""), state_signer=STATE_SIGNER),
    TelnyxAdapter(api_client=ApiClient(""), state_signer=STATE_SIGNER),
    FakeTelephonyAdapter(),
)
# Languages of the catalogues that a carrier does not speak.
NOT_SPOKEN: dict[str, set[str]] = {"twilio": {"hr"}, "telnyx": set()}


def _profile(language: str, **fields: object) -> Profile:
    return Profile("Acme", "sales", "", language=language, **fields)  # type: ignore[arg-type]


def test_every_sentence_exists_in_at_least_twenty_languages() -> None:
    languages = {tag.partition("-")[0] for tag in translated_languages()}

    assert len(languages | {"en"}) >= 20
    assert set(PHRASES) == set(PHRASE_KEYS)


@pytest.mark.parametrize("locale", PATHS)
def test_a_catalogue_translates_every_sentence_with_its_placeholders(locale: str) -> None:
    catalogue = catalogues.read_catalogue(PATHS[locale])
    messages = {message.context: message for message in catalogue if message.id}

    assert set(messages) == set(PHRASE_KEYS)
    for name, text in PHRASES.items():
        message = messages[name]
        assert message.id == text
        assert message.string
        assert not message.fuzzy
        assert placeholders(str(message.string)) == placeholders(text), name
        assert speech_text.strip_markup(str(message.string)) == message.string, name
        assert len(str(message.string)) <= 300


@pytest.mark.parametrize("locale", PATHS)
def test_a_catalogue_contains_no_english(locale: str) -> None:
    for message in catalogues.read_catalogue(PATHS[locale]):
        if not message.id:
            continue
        english = _words(str(message.id)) - SHARED_WORDS
        assert message.string != message.id
        shared = english & _words(str(message.string))
        assert len(shared) < 2, (message.context, shared)


@pytest.mark.parametrize("locale", PATHS)
def test_a_catalogue_is_written_in_the_script_of_its_language(locale: str) -> None:
    scripts = {"ar": "ء-ي", "he": "א-ת", "el": "α-ω", "th": "ก-ฮ", "hi": "अ-ह", "ko": "가-힣"}
    own_range = scripts.get(locale)
    if own_range is None:
        assert Locale.parse(locale).english_name
        return
    first, last = own_range.split("-")
    for message in catalogues.read_catalogue(PATHS[locale]):
        if message.id:
            assert any(first <= char <= last for char in str(message.string)), message.context


@pytest.mark.parametrize("locale", PATHS)
def test_a_compiled_catalogue_is_current(locale: str) -> None:
    path = PATHS[locale]

    compiled = catalogues.compile_catalogue(path)

    assert path.with_suffix(".mo").read_bytes() == compiled, "run `make catalogues`"


@pytest.mark.parametrize("locale", PATHS)
def test_a_catalogue_states_its_source(locale: str) -> None:
    header = PATHS[locale].read_text().partition("msgid")[0]

    assert "not reviewed" in header or "Reviewed by" in header


def test_there_is_no_compiled_catalogue_without_its_source() -> None:
    compiled = {path.parts[-3] for path in LOCALE_FOLDER.glob("*/LC_MESSAGES/*.mo")}

    assert compiled == set(PATHS)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
@pytest.mark.parametrize("language", ["en", *translated_languages()])
def test_every_sentence_is_rendered_by_every_carrier_that_speaks_the_language(
    language: str, adapter: TelephonyAdapter
) -> None:
    table = adapter.capabilities.languages
    if table is not None and not table.speaks(language):
        assert language in NOT_SPOKEN[adapter.name]
        return
    for name in PHRASE_KEYS:
        text = phrase(name, language)

        reply = CallReply((Say(text, language), HangUp()))
        body = adapter.render(reply, callback_url=CALLBACK).body.decode()

        assert text in body


@pytest.mark.parametrize(
    ("tag", "catalogue"),
    [
        ("it", "it"),
        ("it-CH", "it"),
        ("IT-it", "it"),
        ("pt-BR", "pt-BR"),
        ("pt-PT", "pt"),
        ("pt", "pt"),
        ("pt-AO", "pt"),
        ("es-419", "es"),
        ("no", "nb"),
        ("nn-NO", "nb"),
        ("iw", "he"),
        ("zh", "zh"),
        ("zh-Hans-CN", "zh"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("tl", "fil"),
    ],
)
def test_a_tag_gets_the_nearest_catalogue(tag: str, catalogue: str) -> None:
    assert [phrase(name, tag) for name in PHRASE_KEYS] == [
        phrase(name, catalogue) for name in PHRASE_KEYS
    ]
    assert phrase("again", tag) != PHRASES["again"]


@pytest.mark.parametrize("tag", ["en", "en-GB", "tlh", "nonsense", ""])
def test_a_language_without_a_catalogue_gets_english(tag: str) -> None:
    assert phrase("again", tag) == PHRASES["again"]


@pytest.mark.parametrize("language", ["en", "it", "ja", "ar"])
def test_the_default_greeting_is_in_the_profiles_language(language: str) -> None:
    greeting = localised_phrases.default_greeting(_profile(language))

    assert "Acme" in greeting
    assert greeting.endswith(phrase("offer_sales", language))
    assert speech_text.clean_text(greeting) == greeting


def test_a_name_with_braces_is_no_placeholder() -> None:
    profile = Profile("{name} {0} %s", "sales", "")

    assert "{name} {0} %s" in localised_phrases.default_greeting(profile)


@pytest.mark.parametrize("name", PHRASE_KEYS)
def test_a_tenants_own_text_takes_precedence(name: PhraseKey) -> None:
    assert phrase(name, "it", {name: "Ciao."}) == "Ciao."
    assert phrase(name, "it", {"other": "Ciao."}) == phrase(name, "it")


def test_the_tenants_greeting_replaces_the_default() -> None:
    own_phrases = {"hello_with_name": "Ciao, {name} qui.", "offer_sales": "Cosa cerca?"}

    greeting = localised_phrases.default_greeting(_profile("it", phrases=own_phrases))

    assert greeting == "Ciao, Acme qui. Cosa cerca?"


def test_closing_phrases_can_be_the_tenants() -> None:
    own_phrases = {"goodbye": "Bye.", "silence": "Silence.", "limit": "Limit."}

    assert localised_phrases.closing_phrase("agent_hangup", "en", own_phrases) == "Bye."
    assert localised_phrases.closing_phrase("silence", "en", own_phrases) == "Silence."
    assert localised_phrases.closing_phrase("max_turns", "en", own_phrases) == "Limit."


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("pt-BR", {"goodbye": "BR", "again": "PT"}),
        ("pt", {"goodbye": "PT", "again": "PT"}),
        ("pt-AO", {"goodbye": "PT", "again": "PT"}),
        ("iw-IL", {"goodbye": "HE"}),
        ("de", {}),
        (None, {}),
        ("nonsense", {}),
    ],
)
def test_a_profile_uses_the_texts_of_the_nearest_tag(
    language: str | None, expected: dict[str, str]
) -> None:
    own_phrases = {
        "pt": {"goodbye": "PT", "again": "PT"},
        "pt-BR": {"goodbye": "BR"},
        "he": {"goodbye": "HE"},
    }

    assert select_overrides(own_phrases, language) == expected


def _words(text: str) -> set[str]:
    return {word.strip(".,?!;:'’").lower() for word in text.split()} - {""}
