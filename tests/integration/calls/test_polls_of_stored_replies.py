"""Polls answered from the stored reply, which is redacted, after its first part was said."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from tests.fakes.models import StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.integration.tenancy.session_state import wait_for
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core import call_tokens

StartTurn = Callable[[str, str], dict[str, Any]]
CARD_SENTENCE = "Your card is 4111 1111 1111 1111."
REDACTED_SENTENCE = "Your card is [card number]."


@pytest.fixture
def start_turn(
    carrier_client: CarrierClient, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartTurn]:
    """Return a function that starts a turn with an answer in two parts.

    It returns the first reply, with the first part, once the whole answer is stored.
    """
    acme.profile(greeting="Acme here.", redaction={"card_numbers": True})
    state = str(carrier_client.ring(acme.number()["did_number"], "call-1")["state"])
    model_may_continue = Event()

    def start(first_part: str, second_part: str) -> dict[str, Any]:
        monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.3)
        use_model(StepModel(f"{first_part} ", model_may_continue, second_part), filler_s=60)
        monkeypatch.setattr(polled_turn, "_FILLER_AFTER_S", 60)
        reply = carrier_client.say("call-1", state, "When?")
        assert action_types(reply) == ["say", "come_back"]
        assert spoken_text(reply) == first_part
        model_may_continue.set()
        wait_for(lambda: not polled_turn.running_turns())
        return reply

    yield start
    model_may_continue.set()


def as_older_version(state: str, *, spoken_chars: int) -> str:
    """Return the token that a version without checksums made of a state."""
    call_state = call_tokens.verify_state(state, services=app_services())
    return call_tokens.sign_state(
        replace(call_state, spoken_chars=spoken_chars, spoken_checksum=None),
        services=app_services(),
    )


@pytest.mark.parametrize("first_part", [CARD_SENTENCE, "We open at nine."])
def test_a_poll_gets_the_whole_second_part_of_a_redacted_reply(
    carrier_client: CarrierClient, call_record: CallRecord, start_turn: StartTurn, first_part: str
) -> None:
    first = start_turn(first_part, "We close at five.")

    remaining = carrier_client.send_event("more", "call-1", first["state"])

    assert spoken_text(remaining) == "We close at five."
    stored_part = first_part.replace(CARD_SENTENCE, REDACTED_SENTENCE)
    assert call_record.transcript[2] == f"agent: {stored_part} We close at five."


def test_a_poll_with_the_token_of_an_older_version_gets_the_whole_redacted_reply(
    carrier_client: CarrierClient, start_turn: StartTurn
) -> None:
    first = start_turn(CARD_SENTENCE, "We close at five.")
    state = as_older_version(first["state"], spoken_chars=len(CARD_SENTENCE))

    remaining = carrier_client.send_event("more", "call-1", state)

    assert spoken_text(remaining) == f"{REDACTED_SENTENCE} We close at five."


def test_a_poll_with_the_token_of_an_older_version_gets_the_second_part_of_other_replies(
    carrier_client: CarrierClient, start_turn: StartTurn
) -> None:
    first = start_turn("We open at nine.", "We close at five.")
    state = as_older_version(first["state"], spoken_chars=len("We open at nine."))

    remaining = carrier_client.send_event("more", "call-1", state)

    assert spoken_text(remaining) == "We close at five."


def test_a_reply_with_a_card_number_in_both_parts_is_said_as_a_whole(
    carrier_client: CarrierClient, start_turn: StartTurn
) -> None:
    first = start_turn("Your card is 4111 1111.", "1111 1111. We close at five.")

    remaining = carrier_client.send_event("more", "call-1", first["state"])

    assert spoken_text(remaining) == f"{REDACTED_SENTENCE} We close at five."
