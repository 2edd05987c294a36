"""Calls over a voice WebSocket: turns, barge-ins and invalid frames."""

from threading import Event
from typing import Any

import pytest

from tests.fakes.carriers.twilio.call import TwilioCall
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.relay.conftest import ScriptModel, count_slots, open_socket
from tests.support.processes import wait_until
from vca.servers.relay.conversation import Conversation

# --- Turns ---


def test_each_spoken_chunk_is_sent_as_soon_as_it_is_complete(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model(["Let me see. ", model_may_continue, "At nine."])
    socket = open_socket(relay_url, call)

    socket.send("prompt", voicePrompt="When do you open?", last=True)
    first = socket.receive_frame()
    model_may_continue.set()

    assert (first["token"], first["last"]) == ("Let me see. ", False)
    assert socket.receive_answer() == "At nine."
    wait_until(lambda: len(call_record.transcript) == 3)
    assert call_record.transcript[2] == "agent: Let me see. At nine."
    socket.close()


def test_only_a_complete_utterance_is_answered(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model = script_model(["At nine."])
    socket = open_socket(relay_url, call)

    for partial_utterance in ("When", "When do", "When do you"):
        socket.send("prompt", voicePrompt=partial_utterance, last=False)

    assert socket.say("When do you open?") == "At nine."
    assert len(model.requests) == 1
    socket.close()


def test_a_barge_in_is_answered_and_the_heard_text_is_stored(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model_may_continue, barge_in_frame = Event(), Conversation._barge_in_frame

    def wait_for_both_frames(self: Conversation, speaks: bool) -> Any:
        """Check for a barge-in only after both frames arrived, even on a busy machine."""
        if speaks:
            wait_until(lambda: len(self._connection._ws.input_buffer) == 2)
            monkeypatch.setattr(Conversation, "_barge_in_frame", barge_in_frame)
        return barge_in_frame(self, speaks)

    monkeypatch.setattr(Conversation, "_barge_in_frame", wait_for_both_frames)
    model = script_model(
        ["We open at nine. ", model_may_continue, "And close at six."], ["Since 1999."]
    )
    socket = open_socket(relay_url, call)
    socket.send("prompt", voicePrompt="When do you open?", last=True)
    assert socket.receive_frame()["token"] == "We open at nine. "

    socket.send("interrupt", utteranceUntilInterrupt="We open at", durationUntilInterruptMs=400)
    socket.send("prompt", voicePrompt="Since when?", last=True)
    model_may_continue.set()

    assert socket.receive_answer() == ""  # the end of the interrupted answer
    assert socket.receive_answer() == "Since 1999."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[2]["heard_text"] == "We open at"
    assert model.closed_count >= 1
    socket.close()


def test_a_caller_who_continues_before_the_answer_hears_one_answer(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model([model_may_continue, "At nine."], ["On Sundays at ten."])
    socket = open_socket(relay_url, call)

    socket.send("prompt", voicePrompt="When do you open?", last=True)
    socket.send("prompt", voicePrompt="On Sundays, I mean.", last=True)
    wait_until(lambda: "caller: When do you open?" in call_record.transcript)
    model_may_continue.set()

    assert socket.receive_answer() == "On Sundays at ten."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[2]["heard_text"] == ""
    socket.close()


def test_a_barge_in_after_the_last_chunk_stores_the_heard_text(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["We open at nine every day."])
    socket = open_socket(relay_url, call)
    socket.say("When?")

    socket.send("interrupt", utteranceUntilInterrupt="We open at nine")

    wait_until(lambda: call_record.turns[2]["heard_text"] == "We open at nine")
    socket.close()


def test_keys_pressed_before_the_answer_are_answered_after_it(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model([model_may_continue, "At nine."], ["You pressed it."])
    socket = open_socket(relay_url, call)
    socket.send("prompt", voicePrompt="When?", last=True)
    wait_until(lambda: "caller: When?" in call_record.transcript)

    socket.press("42")
    model_may_continue.set()

    assert socket.receive_answer() == "At nine."
    assert socket.receive_answer() == "You pressed it."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.transcript[3] == "caller: (pressed 4 2)"
    socket.close()


def test_irrelevant_and_incomplete_frames_are_ignored(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    socket = open_socket(relay_url, call)

    socket.send("info", name="tokensPlayed", value="Acme here.")
    socket.send("prompt", voicePrompt=7)
    socket.send("dtmf", digit="A")
    socket.send("interrupt")
    socket.client.send('{"type": ["prompt"]}')
    socket.client.send("{}")

    assert socket.say("When?") == "At nine."
    socket.close()


# --- Invalid frames ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("not JSON", 1003),
        ("[]", 1003),
        ('"prompt"', 1003),
        (b'{"type": "prompt"}', 1003),
        ('{"type": "prompt", "type": "dtmf"}', 1003),
        ("x" * (64 * 1024 + 1), 1009),
    ],
    ids=["not JSON", "list", "string", "bytes", "duplicate key", "too large"],
)
def test_an_invalid_frame_closes_the_websocket(
    relay_url: str, call: TwilioCall, data: str | bytes, code: int
) -> None:
    socket = open_socket(relay_url, call)

    socket.client.send(data)

    assert socket.receive_close_code() == code
    wait_until(lambda: count_slots() == 0)
