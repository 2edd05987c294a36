"""Tests of a call's languages: those that its profile allows, and the one that a caller speaks."""

from typing import Any

import pytest

from vca.telephony.turn_settings import SpokenLanguage, TurnSettings
from vca.tenant.calls.core import call_profile
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.turns import spoken_language

ENGLISH, SPANISH = SpokenLanguage("en-US", "Polly.Joanna"), SpokenLanguage("es-ES", "Polly.Lucia")
MEXICAN, JAPANESE = SpokenLanguage("es-MX"), SpokenLanguage("ja")
LANGUAGES = (ENGLISH, SPANISH, MEXICAN, JAPANESE)


def make_profile(**turn: Any) -> CallProfile:
    """Return a profile in English with these turn settings."""
    return call_profile.profile_from_fields(profile_fields(**turn))


def profile_fields(**turn: Any) -> dict[str, Any]:
    return {
        "name": "Ada",
        "role": "receptionist",
        "system_prompt": "We are Acme.",
        "language": "en-US",
        "voice": "Polly.Joanna",
        "turn": turn,
    }


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
    fields_without_language = {**profile_fields(), "language": None, "voice": None}

    assert make_profile().languages == ()
    assert make_profile(languages=[]).languages == ()
    assert call_profile.profile_from_fields(fields_without_language).languages == ()
    matched = spoken_language.match_language((), reported_tag="en", utterance="When do you open?")
    assert matched is None


def test_the_profiles_own_language_is_allowed_first_and_only_once() -> None:
    languages = [
        {"language": "EN-us", "voice": "Polly.Matthew"},
        {"language": "es-ES", "voice": "Polly.Lucia"},
    ]

    assert make_profile(languages=languages).languages == (ENGLISH, SPANISH)


def test_a_profile_in_the_callers_language_still_knows_its_own() -> None:
    languages = [{"language": "es-ES", "voice": "Polly.Lucia"}]
    changed_profile = call_profile.profile_from_fields(
        {
            **profile_fields(languages=languages),
            "language": "es-ES",
            "voice": "Polly.Lucia",
            "main_language": {"language": "en-US", "voice": "Polly.Joanna"},
        }
    )

    assert changed_profile.current_language == SPANISH
    assert changed_profile.main_language == ENGLISH
    assert changed_profile.languages == (ENGLISH, SPANISH)
    assert changed_profile.conversation.language == "es-ES"
    own_profile = changed_profile.in_main_language()
    assert own_profile.current_language == ENGLISH
    assert own_profile.conversation.language == "en-US"


def test_a_profile_from_before_leaves_everything_to_the_carrier() -> None:
    old_fields = profile_fields()
    del old_fields["turn"]

    assert call_profile.profile_from_fields(old_fields).turn == TurnSettings()
    assert make_profile().turn == TurnSettings()


def test_a_field_of_a_newer_version_is_ignored() -> None:
    profile = make_profile(end_ms=900, from_the_future=True)

    assert profile.turn == TurnSettings(end_ms=900)
