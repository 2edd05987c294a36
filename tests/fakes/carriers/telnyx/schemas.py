"""Strict schemas of the Telnyx requests and responses that VCA uses.

If `TELNYX_OPENAPI` names a folder with the vendor's own documents, requests are validated against
those as well. They have no licence, so they are not part of this repository.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from vca.kit import json

TEXT = {"type": "string", "minLength": 1}
OPTIONAL_TEXT = {"type": ["string", "null"]}
E164 = {"type": "string", "pattern": r"^\+[1-9][0-9]{6,14}$"}
BASE64 = {"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$", "maxLength": 32_768}
UUID = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]{36}$"}
URL = {"type": "string", "pattern": "^https?://"}
COMMAND = {"client_state": BASE64, "command_id": UUID}
WEBHOOK = {"webhook_url": URL, "webhook_url_method": {"const": "POST"}}


def integer(minimum: int, maximum: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def closed_object(required: str = "", **fields: Any) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


KEYS = {
    "minimum_digits": integer(1, 128),
    "maximum_digits": integer(1, 128),
    "inter_digit_timeout_millis": integer(1, 60_000),
    "valid_digits": {"const": "0123456789*#"},
    "terminating_digit": {"type": "string", "maxLength": 1},
    "timeout_millis": integer(1, 600_000),
}
SPEECH = {
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
    "webhook_timeout_secs": integer(0, 30),
    "first_command_timeout": {"type": "boolean"},
    "first_command_timeout_secs": integer(1, 60),
}
RECOGNITION = closed_object(
    "transcription_engine language", transcription_engine={"const": "Google"}, language=TEXT
)

# By the last part of the path; all are POST …/calls/{id}/actions/….
COMMANDS = {
    "answer": closed_object("command_id client_state", **COMMAND, **WEBHOOK),
    "reject": closed_object(
        "cause command_id", **COMMAND, cause={"enum": ["CALL_REJECTED", "USER_BUSY"]}
    ),
    "hangup": closed_object("command_id", **COMMAND),
    "speak": closed_object("payload voice command_id client_state", **COMMAND, **SPEECH),
    "gather": closed_object(
        "command_id client_state", **COMMAND, **KEYS, initial_timeout_millis=integer(1, 600_000)
    ),
    "gather_using_speak": closed_object(
        "payload voice command_id client_state",
        **COMMAND,
        **SPEECH,
        **KEYS,
        maximum_tries=integer(1, 10),
    ),
    "gather_stop": closed_object("command_id", **COMMAND),
    "playback_stop": closed_object("command_id", **COMMAND, stop={"enum": ["all", "current"]}),
    "conversation_relay_start": closed_object(
        "url voice language custom_parameters command_id client_state",
        **COMMAND,
        url={"type": "string", "pattern": "^wss?://"},
        greeting={"type": "string", "minLength": 1, "maxLength": 3_000},
        language=TEXT,
        voice=SPEECH["voice"],
        interruptible={"enum": ["any", "none", "speech", "dtmf"]},
        interruptible_greeting={"enum": ["any", "none", "speech", "dtmf"]},
        dtmf_detection={"type": "boolean"},
        custom_parameters=closed_object("token", token=TEXT),
    ),
    "conversation_relay_stop": closed_object("command_id", **COMMAND),
    "transcription_start": closed_object(
        "transcription_engine command_id",
        **COMMAND,
        transcription_engine={"const": "Google"},
        transcription_engine_config=RECOGNITION,
        transcription_tracks={"const": "inbound"},
    ),
    "transcription_stop": closed_object("command_id", **COMMAND),
    "record_start": closed_object(
        "format channels command_id client_state",
        **COMMAND,
        format={"const": "wav"},
        channels={"enum": ["single", "dual"]},
        play_beep={"type": "boolean"},
        max_length=integer(0, 14_400),
    ),
    "transfer": closed_object(
        "to command_id client_state target_leg_client_state",
        **COMMAND,
        **WEBHOOK,
        **{"from": E164},
        to=E164,
        timeout_secs=integer(5, 600),
        target_leg_client_state=BASE64,
    ),
    "send_dtmf": closed_object(
        "digits command_id", **COMMAND, digits={"type": "string", "pattern": "^[0-9*#]+$"}
    ),
}
DIAL = closed_object(
    "connection_id to from client_state command_id timeout_secs webhook_url",
    **COMMAND,
    **WEBHOOK,
    **{"from": E164},
    to=E164,
    connection_id=TEXT,
    timeout_secs=integer(5, 600),
)
NUMBER_UPDATE = closed_object(
    "tags", tags={"type": "array", "items": TEXT}, connection_id={"type": "string"}
)
APPLICATION_REQUEST = closed_object("application_name webhook_event_url", **APPLICATION)
CREDENTIAL_REQUEST = closed_object(
    "connection_id", connection_id=TEXT, name=TEXT, tag=TEXT, expires_at=TEXT
)

OK = closed_object("data", data=closed_object("result", result={"const": "ok"}))
CALL = closed_object(
    "call_control_id call_leg_id call_session_id is_alive record_type",
    call_control_id=TEXT,
    call_leg_id=TEXT,
    call_session_id=TEXT,
    is_alive={"type": "boolean"},
    record_type={"const": "call"},
    client_state=OPTIONAL_TEXT,
    start_time=TEXT,
    end_time=TEXT,
    call_duration=integer(0, 100_000),
)
NUMBER = closed_object(
    "id phone_number status tags connection_id",
    id=TEXT,
    phone_number=E164,
    status=TEXT,
    tags={"type": "array", "items": TEXT},
    connection_id={"type": "string"},
)
RECORDING = closed_object(
    "id call_control_id download_urls recording_started_at status",
    id=TEXT,
    call_control_id=TEXT,
    recording_started_at=TEXT,
    status={"const": "completed"},
    download_urls=closed_object("wav", wav=URL),
)
LOG_ENTRY = closed_object(
    "name type metadata call_leg_id call_session_id event_timestamp record_type",
    name=TEXT,
    type={"enum": ["command", "webhook"]},
    metadata={"type": "object"},
    call_leg_id=TEXT,
    call_session_id=TEXT,
    event_timestamp=TEXT,
    record_type={"const": "call_event"},
)


def single(item: dict[str, Any]) -> dict[str, Any]:
    return closed_object("data", data=item)


def page(item: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a page of a list."""
    return closed_object(
        "data meta", data={"type": "array", "items": item}, meta={"type": "object"}
    )


def schema_errors(schema: dict[str, Any], value: Any) -> list[str]:
    """Return the violations of a schema."""
    errors = Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in errors]


def vendor_errors(method: str, path: str, value: Any) -> list[str]:
    """Return the violations of the vendor's own document, if it is available."""
    for template, document in _vendor_paths():
        if template == path and method.lower() in document["paths"][path]:
            operation = document["paths"][path][method.lower()]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            if schema is not None:
                return schema_errors({**schema, "components": document["components"]}, value)
    return []


def _vendor_paths() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in _vendor_documents(os.environ.get("TELNYX_OPENAPI", "")):
        for path in document["paths"]:
            yield path, document


@cache
def _vendor_documents(folder: str) -> tuple[dict[str, Any], ...]:
    paths = sorted(Path(folder).glob("telnyx_*.json")) if folder else []
    return tuple(json.loads(path.read_bytes()) for path in paths)
