"""Tests of a call's languages: those that its profile allows, and the one that a caller speaks."""

from typing import Any

import pytest

from vca.telephony.turn_settings import SpokenLanguage, TurnSettings
from vca.tenant.calls.turns import spoken_language

ENGLISH, SPANISH = SpokenLanguage("en-US", "Polly.Joanna"), SpokenLanguage("es-ES", "Polly.Lucia")
MEXICAN, JAPANESE = SpokenLanguage("es-MX"), SpokenLanguage("ja")
LANGUAGES = (ENGLISH, SPANISH, MEXICAN, JAPANESE)


def profile(**turn: Any) -> dict[str, Any]:
    """Return a stored profile in English with these turn settings."""
    return {"language": "en-US", "voice": "Polly.Joanna", "turn": turn}


@pytest.mark.parametrize(
    ("reported_tag", "utterance", "expected"),
    [
        ("en", "When do you open?", ENGLISH),
        ("en-US", "When do you open?", ENGLISH),
        ("en-GB", "When do you open?", ENGLISH),
        ("es", "¿A qué hora abren?", SPANISH),
        ("es-MX", "¿A qué hora abren?", MEXICAN),
        ("ES_mx", "¿A qué hora abren?", MEXICAN),
        ("es-AR", "¿A qué hora abren?", SPANISH),
        ("ja", "何時に開きますか", JAPANESE),
        ("de", "Wann öffnen Sie morgen?", None),
        ("es", "Sí, claro", None),
        ("es", "OK", None),
        ("es", "", None),
        ("ja", "はい", None),
        ("", "When do you open?", None),
        ("multi", "When do you open?", None),
    ],
)
def test_the_callers_language_is_an_allowed_one_or_unclear(
    reported_tag: str, utterance: str, expected: SpokenLanguage | None
) -> None:
    matched = spoken_language.match_language(
        LANGUAGES, reported_tag=reported_tag, utterance=utterance
    )

    assert matched == expected


def test_a_call_with_one_language_never_changes_it() -> None:
    assert spoken_language.allowed_languages(profile()) == ()
    assert spoken_language.allowed_languages(profile(languages=[])) == ()
    assert spoken_language.allowed_languages({"language": None, "voice": None}) == ()
    matched = spoken_language.match_language((), reported_tag="en", utterance="When do you open?")
    assert matched is None


def test_the_profiles_own_language_is_allowed_first_and_only_once() -> None:
    languages = [
        {"language": "EN-us", "voice": "Polly.Matthew"},
        {"language": "es-ES", "voice": "Polly.Lucia"},
    ]

    assert spoken_language.allowed_languages(profile(languages=languages)) == (ENGLISH, SPANISH)


def test_a_profile_in_the_callers_language_still_knows_its_own() -> None:
    languages = [{"language": "es-ES", "voice": "Polly.Lucia"}]
    changed_profile = {
        **profile(languages=languages),
        "language": "es-ES",
        "voice": "Polly.Lucia",
        "main_language": {"language": "en-US", "voice": "Polly.Joanna"},
    }

    assert spoken_language.current_language(changed_profile) == SPANISH
    assert spoken_language.main_language(changed_profile) == ENGLISH
    assert spoken_language.allowed_languages(changed_profile) == (ENGLISH, SPANISH)
    assert spoken_language.in_main_language(changed_profile)["language"] == "en-US"


def test_a_profile_from_before_leaves_everything_to_the_carrier() -> None:
    stored_profile = {"language": "en-US", "voice": None}

    assert spoken_language.turn_settings(stored_profile) == TurnSettings()
    assert spoken_language.turn_settings(profile()) == TurnSettings()


def test_a_field_of_a_newer_version_is_ignored() -> None:
    settings = spoken_language.turn_settings(profile(end_ms=900, from_the_future=True))

    assert settings == TurnSettings(end_ms=900)
