"""The relay reads the frames that carriers document, and sends frames of the documented form.

Each file of `recorded_frames` names its public source.
"""

from pathlib import Path
from typing import Any

import pytest

from vca.kit import json
from vca.servers.relay import frames
from vca.servers.relay.frames import Interrupt, Key, Prompt, Setup
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.twilio.adapter import TwilioAdapter

RECORDINGS: dict[str, Any] = {
    path.stem: json.loads(path.read_bytes())
    for path in sorted((Path(__file__).parent / "recorded_frames").iterdir())
}
RECEIVED = [
    pytest.param(name, index, id=f"{name} {item['frame']['type']} {index}")
    for name, recording in RECORDINGS.items()
    for index, item in enumerate(recording["received"])
]
ADAPTERS: dict[str, type[TelephonyAdapter]] = {"telnyx": TelnyxAdapter, "twilio": TwilioAdapter}


def _parse(document: dict[str, Any]) -> frames.Frame:
    return frames.parse_frame(json.dumps(document).decode())


def test_every_carrier_with_voice_websockets_has_recorded_frames() -> None:
    assert set(RECORDINGS) == set(ADAPTERS)
    assert all(recording["source"].startswith("https://") for recording in RECORDINGS.values())


@pytest.mark.parametrize(("name", "index"), RECEIVED)
def test_a_recorded_frame_is_read(name: str, index: int) -> None:
    item = RECORDINGS[name]["received"][index]

    frame = _parse(item["frame"])

    assert type(frame).__name__ == item["expected"]
    document = item["frame"]
    match frame:
        case Setup(fields, token):
            websocket_format = ADAPTERS[name].websocket_format
            assert websocket_format is not None
            assert fields[websocket_format.call_id_field] == document["callSid"]
            assert token == ""
        case Prompt():
            expected_fields = (document["voicePrompt"], document["last"], document["lang"])
            assert (frame.text, frame.last, frame.language) == expected_fields
        case Interrupt(spoken_text):
            assert spoken_text == document["utteranceUntilInterrupt"]
        case Key(key):
            assert key == document["digit"]


@pytest.mark.parametrize("language", [7, None, "x" * 36, ["en"]])
def test_a_prompt_with_an_unreadable_language_is_still_an_utterance(language: Any) -> None:
    frame = _parse({"type": "prompt", "voicePrompt": "Hello?", "lang": language})

    assert frame == Prompt("Hello?", last=True, language="")


@pytest.mark.parametrize(
    "text",
    [
        frames.text_frame("Hello", last=False),
        frames.language_frame("es-ES"),
        frames.end_frame("done"),
    ],
)
def test_a_sent_frame_has_documented_fields(text: str) -> None:
    documented_fields: dict[str, dict[str, Any]] = {
        frame["type"]: frame for frame in RECORDINGS["telnyx"]["sent"]
    }
    frame = json.loads(text)

    assert set(frame) - {"handoffData"} <= set(documented_fields[frame["type"]])
