"""The greeting of an agent."""

from dataclasses import replace
from typing import get_args

import pytest

from tests.unit.conversation.engine.engine_calls import ANSWERED_AT, FACTS, PROFILE, build_greeting
from vca.conversation import engine, speech_text
from vca.conversation.types import Profile, Role


def test_the_greeting_is_the_cleaned_text_of_the_profile() -> None:
    profile = replace(PROFILE, greeting=" Acme,\x00 good morning!\nWhat  is it? ")

    assert build_greeting(profile) == "Acme, good morning! What is it?"


def test_a_long_greeting_is_cut_at_the_maximum() -> None:
    profile = replace(PROFILE, greeting="Welcome to Acme. " * 1000)

    assert len(build_greeting(profile)) <= speech_text.MAX_CHARS


@pytest.mark.parametrize("greeting", [None, "", " \x00"])
@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("language", ["en-US", "de", "es_MX", "FR-ca", "tlh", ""])
def test_a_profile_without_a_greeting_gets_one_for_its_role_and_language(
    greeting: str | None, role: Role, language: str
) -> None:
    profile = Profile("Bella {name}", role, "Hi.", greeting=greeting, language=language)

    greeting_text = build_greeting(profile)

    assert "Bella {name}" in greeting_text
    assert greeting_text.endswith("?")


def test_variables_in_a_greeting_are_replaced_by_their_values() -> None:
    profile = replace(PROFILE, greeting="Hello {{name}},{{nothing}} it is {{now}}.")
    facts = replace(FACTS, variables={"name": "Ada\nLovelace {{now}}"})

    greeting_text = engine.build_greeting(profile, facts=facts, now=ANSWERED_AT)

    assert greeting_text == "Hello Ada Lovelace now, it is Sunday, 22 November 2026, 18:00 (UTC)."
    assert build_greeting(replace(PROFILE, greeting="{{nothing}}")).startswith(
        "Hello, this is Ada."
    )


def test_a_profile_named_after_its_role_greets_without_a_name() -> None:
    assert build_greeting(Profile("Sales", "sales", "Sell.")) == "Hello. What are you looking for?"
