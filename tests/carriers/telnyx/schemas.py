"""What requests to Telnyx and its answers look like, as far as VCA uses them; ours, and strict.

Where `TELNYX_OPENAPI` names a folder of the vendor's own documents, requests are held against those
as well: they bear no licence, and are not part of the project.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from vca.kit import json

TEXT = {"type": "string", "minLength": 1}
MAYBE = {"type": ["string", "null"]}
E164 = {"type": "string", "pattern": r"^\+[1-9][0-9]{6,14}$"}
BASE64 = {"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$", "maxLength": 32_768}
UUID = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]{36}$"}
URL = {"type": "string", "pattern": "^https?://"}
COMMAND = {"client_state": BASE64, "command_id": UUID}
WEBHOOK = {"webhook_url": URL, "webhook_url_method": {"const": "POST"}}


def whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def thing(required: str = "", **fields: Any) -> dict[str, Any]:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


KEYS = {
    "minimum_digits": whole(1, 128),
    "maximum_digits": whole(1, 128),
    "inter_digit_timeout_millis": whole(1, 60_000),
    "valid_digits": {"const": "0123456789*#"},
    "terminating_digit": {"type": "string", "maxLength": 1},
    "timeout_millis": whole(1, 600_000),
}
WORDS = {
    "payload": {"type": "string", "minLength": 1, "maxLength": 3_000},
    "payload_type": {"const": "text"},
    "voice": {"type": "string", "pattern": r"^[A-Za-z]+\."},
}
APPLICATION = {
    "application_name": TEXT,
    "active": {"type": "boolean"},
    "webhook_event_url": URL,
    "webhook_event_failover_url": {"type": ["string", "null"], "pattern": "^https?://"},
    "webhook_api_version": {"enum": ["1", "2"]},
    "webhook_timeout_secs": whole(0, 30),
    "first_command_timeout": {"type": "boolean"},
    "first_command_timeout_secs": whole(1, 60),
}
RECOGNITION = thing(
    "transcription_engine language", transcription_engine={"const": "Google"}, language=TEXT
)

# By the last word of the path; all are POST …/calls/{id}/actions/….
COMMANDS = {
    "answer": thing("command_id client_state", **COMMAND, **WEBHOOK),
    "reject": thing("cause command_id", **COMMAND, cause={"enum": ["CALL_REJECTED", "USER_BUSY"]}),
    "hangup": thing("command_id", **COMMAND),
    "speak": thing("payload voice command_id client_state", **COMMAND, **WORDS),
    "gather": thing(
        "command_id client_state", **COMMAND, **KEYS, initial_timeout_millis=whole(1, 600_000)
    ),
    "gather_using_speak": thing(
        "payload voice command_id client_state",
        **COMMAND,
        **WORDS,
        **KEYS,
        maximum_tries=whole(1, 10),
    ),
    "gather_stop": thing("command_id", **COMMAND),
    "playback_stop": thing("command_id", **COMMAND, stop={"enum": ["all", "current"]}),
    "conversation_relay_start": thing(
        "url voice language custom_parameters command_id client_state",
        **COMMAND,
        url={"type": "string", "pattern": "^wss?://"},
        greeting={"type": "string", "minLength": 1, "maxLength": 3_000},
        language=TEXT,
        voice=WORDS["voice"],
        interruptible={"enum": ["any", "none", "speech", "dtmf"]},
        dtmf_detection={"type": "boolean"},
        custom_parameters=thing("token", token=TEXT),
    ),
    "conversation_relay_stop": thing("command_id", **COMMAND),
    "transcription_start": thing(
        "transcription_engine command_id",
        **COMMAND,
        transcription_engine={"const": "Google"},
        transcription_engine_config=RECOGNITION,
        transcription_tracks={"const": "inbound"},
    ),
    "transcription_stop": thing("command_id", **COMMAND),
    "record_start": thing(
        "format channels command_id client_state",
        **COMMAND,
        format={"const": "wav"},
        channels={"enum": ["single", "dual"]},
        play_beep={"type": "boolean"},
        max_length=whole(0, 14_400),
    ),
    "transfer": thing(
        "to command_id client_state target_leg_client_state",
        **COMMAND,
        **WEBHOOK,
        **{"from": E164},
        to=E164,
        timeout_secs=whole(5, 600),
        target_leg_client_state=BASE64,
    ),
    "send_dtmf": thing(
        "digits command_id", **COMMAND, digits={"type": "string", "pattern": "^[0-9*#]+$"}
    ),
}
DIAL = thing(
    "connection_id to from client_state command_id timeout_secs webhook_url",
    **COMMAND,
    **WEBHOOK,
    **{"from": E164},
    to=E164,
    connection_id=TEXT,
    timeout_secs=whole(5, 600),
)
NUMBER_CHANGED = thing(
    "tags", tags={"type": "array", "items": TEXT}, connection_id={"type": "string"}
)
APPLICATION_MADE = thing("application_name webhook_event_url", **APPLICATION)
CREDENTIAL_MADE = thing("connection_id", connection_id=TEXT, name=TEXT, expires_at=TEXT)

OK = thing("data", data=thing("result", result={"const": "ok"}))
CALL = thing(
    "call_control_id call_leg_id call_session_id is_alive record_type",
    call_control_id=TEXT,
    call_leg_id=TEXT,
    call_session_id=TEXT,
    is_alive={"type": "boolean"},
    record_type={"const": "call"},
    client_state=MAYBE,
    start_time=TEXT,
    end_time=TEXT,
    call_duration=whole(0, 100_000),
)
NUMBER = thing(
    "id phone_number status tags connection_id",
    id=TEXT,
    phone_number=E164,
    status=TEXT,
    tags={"type": "array", "items": TEXT},
    connection_id={"type": "string"},
)
RECORDING = thing(
    "id call_control_id download_urls recording_started_at status",
    id=TEXT,
    call_control_id=TEXT,
    recording_started_at=TEXT,
    status={"const": "completed"},
    download_urls=thing("wav", wav=URL),
)
LOGGED = thing(
    "name type metadata call_leg_id call_session_id event_timestamp record_type",
    name=TEXT,
    type={"enum": ["command", "webhook"]},
    metadata={"type": "object"},
    call_leg_id=TEXT,
    call_session_id=TEXT,
    event_timestamp=TEXT,
    record_type={"const": "call_event"},
)
ERRORS = thing(
    "errors",
    errors={
        "type": "array",
        "minItems": 1,
        "items": thing("code title", code=TEXT, title=TEXT, detail=TEXT),
    },
)


def one(of: dict[str, Any]) -> dict[str, Any]:
    return thing("data", data=of)


def page(of: dict[str, Any]) -> dict[str, Any]:
    """A list, with how far it goes."""
    return thing("data meta", data={"type": "array", "items": of}, meta={"type": "object"})


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value."""
    found = Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def vendors_faults(method: str, path: str, value: Any) -> list[str]:
    """What the vendor's own document has against a request, where one is at hand."""
    for template, document in _vendors():
        if template == path and method.lower() in document["paths"][path]:
            operation = document["paths"][path][method.lower()]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            if schema is not None:
                return faults({**schema, "components": document["components"]}, value)
    return []


def _vendors() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in _documents(os.environ.get("TELNYX_OPENAPI", "")):
        for path in document["paths"]:
            yield path, document


@cache
def _documents(folder: str) -> tuple[dict[str, Any], ...]:
    found = sorted(Path(folder).glob("telnyx_*.json")) if folder else []
    return tuple(json.loads(path.read_bytes()) for path in found)
