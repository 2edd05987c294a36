"""Calls over a voice WebSocket whose caller speaks another language than the profile's."""

from uuid import UUID

import pytest

from tests.fakes.carriers.carrier_websocket import CarrierWebSocket
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.relay.conftest import (
    ScriptModel,
    count_slots,
    open_session,
    open_socket,
)
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from tests.support.services import app_services
from vca.conversation import localised_phrases
from vca.conversation.llm import ToolCall
from vca.kit import json
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis

SPANISH = {"type": "language", "ttsLanguage": "es-ES"}
ENGLISH = {"type": "language", "ttsLanguage": "en-US"}


@pytest.fixture
def call(call: TwilioCall, acme: Tenant) -> TwilioCall:
    """Return a call in English that may change to Spanish."""
    [profile] = acme.get("/ai-profiles").json
    fields = {
        "language": "en-US",
        "voice": "Polly.Joanna",
        "silence_seconds": 1,
        "turn": {"languages": [{"language": "es-ES", "voice": "Polly.Lucia"}]},
    }
    assert acme.patch(f"/ai-profiles/{profile['id']}", fields).status_code == 200
    return call


def _say(socket: CarrierWebSocket, text: str, lang: str) -> None:
    socket.send("prompt", voicePrompt=text, lang=lang, last=True)


def test_the_agent_follows_the_caller_into_an_allowed_language_and_back(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model = script_model(["A las nueve."], ["A las diez."], ["At nine."])
    socket = open_socket(relay_url, call)
    assert call.twiml is not None
    relay = call.twiml.find("ConversationRelay")
    assert relay.get("transcriptionLanguage") == "multi"
    assert [item.get("code") for item in relay.iter("Language")] == ["en-US", "es-ES"]

    _say(socket, "¿A qué hora abren?", "es")
    assert socket.receive_frame() == SPANISH
    assert socket.receive_answer() == "A las nueve."
    _say(socket, "¿Y los domingos también?", "es")
    assert socket.receive_answer() == "A las diez."
    _say(socket, "And in English, please?", "en")
    assert socket.receive_frame() == ENGLISH
    assert socket.receive_answer() == "At nine."

    spoken_tags = ["es-ES" in request.system for request in model.requests]
    assert spoken_tags == [True, True, False]
    wait_until(lambda: len(call_record.transcript) == 7)
    socket.close()


@pytest.mark.parametrize(
    ("text", "lang"),
    [("Wann öffnen Sie morgen?", "de"), ("Sí, claro", "es"), ("Hello there you", "")],
)
def test_another_or_an_unclear_language_changes_nothing(
    relay_url: str, call: TwilioCall, script_model: ScriptModel, text: str, lang: str
) -> None:
    script_model(["At nine."])
    socket = open_socket(relay_url, call)

    _say(socket, text, lang)

    assert socket.receive_answer() == "At nine."
    socket.close()


def test_a_profile_with_one_language_never_changes_it(
    relay_url: str, call: TwilioCall, acme: Tenant, script_model: ScriptModel
) -> None:
    [profile] = acme.get("/ai-profiles").json
    acme.patch(f"/ai-profiles/{profile['id']}", {"turn": {}})
    script_model(["At nine."])
    socket = open_socket(relay_url, call)
    assert call.twiml is not None
    assert call.twiml.find("ConversationRelay").get("transcriptionLanguage") is None

    _say(socket, "¿A qué hora abren?", "es")

    assert socket.receive_answer() == "At nine."
    socket.close()


def test_vcas_sentences_are_in_the_callers_language(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["A las nueve."])
    socket = open_socket(relay_url, call)
    _say(socket, "¿A qué hora abren?", "es")
    assert socket.receive_frame() == SPANISH
    socket.receive_answer()

    after_silence = socket.receive_answer()

    assert after_silence == localised_phrases.phrase("again", "es-ES")
    socket.close()


def test_the_language_is_kept_after_a_reconnection(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["A las nueve."], ["A las diez."])
    session = open_session(relay_url, call)
    _say(session.socket, "¿A qué hora abren?", "es")
    assert session.receive_frame() == SPANISH
    assert session.receive_answer() == "A las nueve."
    session.socket.break_connection()
    wait_until(lambda: count_slots() == 0)

    session.send("prompt", voicePrompt="¿Y los domingos también?", lang="es", last=True)

    assert session.receive_frame() == SPANISH
    assert session.receive_answer() == "A las diez."
    session.hang_up()


def test_the_language_is_kept_by_another_websocket_and_over_http(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["A las nueve."])
    socket = open_socket(relay_url, call)
    _say(socket, "¿A qué hora abren?", "es")
    socket.receive_frame()
    socket.receive_answer()
    socket.close()

    relay = call.end_relay(None).find("ConversationRelay")
    twiml = call.end_relay(None)

    assert (relay.get("language"), relay.get("voice")) == ("es-ES", "Lucia")
    assert [item.get("code") for item in relay.iter("Language")] == ["en-US", "es-ES"]
    assert twiml.find("Gather").get("language") == "es-ES"
    assert twiml.find("Say").get("voice") == "Polly.Lucia"


def test_the_summary_is_in_the_profiles_own_language(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
) -> None:
    arguments = {"summary": "Asked for the hours.", "outcome": "resolved"}
    analysis = ToolCall("note_call", json.dumps(arguments).decode())
    model = script_model(["A las nueve."], [analysis])
    socket = open_socket(relay_url, call)
    _say(socket, "¿A qué hora abren?", "es")
    socket.receive_frame()
    socket.receive_answer()
    socket.close()
    call.hang_up()

    post_call_analysis.analyse_call(
        CallRef(call_record.tenant.ref, UUID(call_record.call["id"])), services=app_services()
    )

    assert "es-ES" in model.requests[0].system
    assert "the language en-US" in model.requests[1].system
