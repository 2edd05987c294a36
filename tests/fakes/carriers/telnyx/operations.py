"""Telnyx's API: each operation is a method that returns its response and the response's schema."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.fakes.carriers.telnyx import schemas
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID, Leg, Switch, TelnyxError


@dataclass(frozen=True)
class TelnyxRequest:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any


@dataclass
class TelnyxAccount:
    """The resources of an account."""

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)
    credentials: dict[str, dict[str, Any]] = field(default_factory=dict)
    credential_connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    switch: Switch = field(default_factory=Switch)

    def add_credential_connection(
        self, connection_id: str, *, events_url: str, parks_calls: bool = True
    ) -> None:
        """Add a connection for browsers."""
        self.credential_connections[connection_id] = {
            "id": connection_id,
            "webhook_event_url": events_url,
            "outbound": {"call_parking_enabled": parks_calls},
        }

    def add_number(self, number: str, *tags: str, connection_id: str = "") -> None:
        """Add a number to the account, as if it had been bought."""
        self.numbers[number] = {
            "id": str(uuid4().int)[:19],
            "phone_number": number,
            "status": "active",
            "tags": list(tags),
            "connection_id": connection_id,
        }


Response = tuple[dict[str, Any], Any]


class TelnyxApi:
    """The operations on an account; `recordings_url` is where its recordings are."""

    def __init__(self, account: TelnyxAccount, recordings_url: str) -> None:
        self.account = account
        self.recordings_url = recordings_url

    def dial(self, request: TelnyxRequest) -> Response:
        return schemas.single(schemas.CALL), {
            "data": call_status(self.account.switch.dial(request.body))
        }

    def get_call(self, request: TelnyxRequest, call: str) -> Response:
        return schemas.single(schemas.CALL), {"data": call_status(self.account.switch.find(call))}

    def run_command(self, request: TelnyxRequest, call: str, command: str) -> Response:
        self.account.switch.command(call, command, request.body)
        return schemas.OK, {"data": {"result": "ok"}}

    def list_active_calls(self, request: TelnyxRequest, connection: str) -> Response:
        legs = self.account.switch.legs.values()
        active_calls = [
            call_status(leg) for leg in legs if leg.alive and leg.connection_id == connection
        ]
        return schemas.page(schemas.CALL), _page(active_calls)

    def list_events(self, request: TelnyxRequest) -> Response:
        filters = {
            "leg_id": request.query.get("filter[leg_id]"),
            "to": request.query.get("filter[to]"),
        }
        since = request.query.get("filter[occurred_at][gte]", "")
        assert request.query["filter[type]"] == "webhook"
        entries = [
            _log_entry(event)
            for event in self.account.switch.events
            if filters["leg_id"] in (None, event["data"]["payload"]["call_leg_id"])
            and filters["to"] in (None, event["data"]["payload"].get("to"))
            and (not since or _parse_time(since) <= _parse_time(event["data"]["occurred_at"]))
        ]
        return schemas.page(schemas.LOG_ENTRY), _page(entries)

    def list_numbers(self, request: TelnyxRequest) -> Response:
        part = request.query["filter[phone_number]"].lstrip("+")
        numbers = [
            candidate for number, candidate in self.account.numbers.items() if part in number
        ]
        return schemas.page(schemas.NUMBER), _page(numbers)

    def update_number(self, request: TelnyxRequest, number_id: str) -> Response:
        number = _get_by_id(self.account.numbers, number_id)
        number.update(request.body)
        return schemas.single(schemas.NUMBER), {"data": number}

    def list_applications(self, request: TelnyxRequest) -> Response:
        part = request.query["filter[application_name][contains]"]
        all_applications = self.account.applications.values()
        matches = [
            candidate for candidate in all_applications if part in candidate["application_name"]
        ]
        return schemas.page({"type": "object"}), _page(matches)

    def get_application(self, request: TelnyxRequest, application_id: str) -> Response:
        application = _get_by_id(self.account.applications, application_id)
        return schemas.single({"type": "object"}), {"data": application}

    def create_application(self, request: TelnyxRequest) -> Response:
        application = {
            "id": str(uuid4().int)[:19] if self.account.applications else CONNECTION_ID,
            "record_type": "call_control_application",
            "webhook_api_version": "1",
            "webhook_timeout_secs": None,
            "first_command_timeout": False,
            "first_command_timeout_secs": 30,
            **request.body,
        }
        self.account.applications[application["id"]] = application
        return schemas.single({"type": "object"}), {"data": application}

    def update_application(self, request: TelnyxRequest, application_id: str) -> Response:
        application = _get_by_id(self.account.applications, application_id)
        application.update(request.body)
        return schemas.single({"type": "object"}), {"data": application}

    def list_recordings(self, request: TelnyxRequest) -> Response:
        call = request.query["filter[call_control_id]"]
        all_recordings = self.account.switch.recordings.items()
        recordings = [
            {
                "id": recording,
                "call_control_id": recorded_call,
                "status": "completed",
                "recording_started_at": "2026-11-22T18:00:00Z",
                "download_urls": {"wav": f"{self.recordings_url}/{recording}"},
            }
            for recording, (recorded_call, _) in all_recordings
            if recorded_call == call
        ]
        return schemas.page(schemas.RECORDING), _page(recordings)

    def delete_recording(self, request: TelnyxRequest, recording: str) -> Response:
        if self.account.switch.recordings.pop(recording, None) is None:
            raise TelnyxError(404, "10005", "Resource not found")
        return {"type": "object"}, {"data": {"id": recording}}

    def get_credential_connection(self, request: TelnyxRequest, connection: str) -> Response:
        fields = _get_by_id(self.account.credential_connections, connection)
        return schemas.single({"type": "object"}), {"data": fields}

    def create_credential(self, request: TelnyxRequest) -> Response:
        new_credential = {
            "id": str(uuid4()),
            "sip_username": f"gencred{uuid4().hex}",
            "expired": False,
            **request.body,
        }
        self.account.credentials[new_credential["id"]] = new_credential
        return schemas.single({"type": "object"}), {"data": new_credential}

    def create_token(self, request: TelnyxRequest, credential: str) -> Response:
        credential_fields = _get_by_id(self.account.credentials, credential)
        return {"type": "string"}, f"ey.token-of.{credential_fields['id']}"


Operation = Callable[..., Response]
_CALL = "/calls/{call_control_id}"
OPERATIONS: tuple[tuple[str, str, Operation, dict[str, Any] | None], ...] = (
    ("POST", "/calls", TelnyxApi.dial, schemas.DIAL),
    ("GET", _CALL, TelnyxApi.get_call, None),
    *(
        ("POST", f"{_CALL}/actions/{command}", TelnyxApi.run_command, schema)
        for command, schema in schemas.COMMANDS.items()
    ),
    ("GET", "/connections/{connection_id}/active_calls", TelnyxApi.list_active_calls, None),
    ("GET", "/call_events", TelnyxApi.list_events, None),
    ("GET", "/phone_numbers", TelnyxApi.list_numbers, None),
    ("PATCH", "/phone_numbers/{id}", TelnyxApi.update_number, schemas.NUMBER_UPDATE),
    ("GET", "/call_control_applications", TelnyxApi.list_applications, None),
    (
        "POST",
        "/call_control_applications",
        TelnyxApi.create_application,
        schemas.APPLICATION_REQUEST,
    ),
    ("GET", "/call_control_applications/{id}", TelnyxApi.get_application, None),
    (
        "PATCH",
        "/call_control_applications/{id}",
        TelnyxApi.update_application,
        schemas.APPLICATION_REQUEST,
    ),
    ("GET", "/recordings", TelnyxApi.list_recordings, None),
    ("DELETE", "/recordings/{recording_id}", TelnyxApi.delete_recording, None),
    ("GET", "/credential_connections/{id}", TelnyxApi.get_credential_connection, None),
    ("POST", "/telephony_credentials", TelnyxApi.create_credential, schemas.CREDENTIAL_REQUEST),
    ("POST", "/telephony_credentials/{id}/token", TelnyxApi.create_token, None),
)


def call_status(leg: Leg) -> dict[str, Any]:
    """Return the representation of a call."""
    end_fields = {"end_time": leg.ended_at.isoformat()} if leg.ended_at else {}
    return {
        "record_type": "call",
        "call_control_id": leg.id,
        "call_leg_id": leg.leg_id,
        "call_session_id": leg.session_id,
        "is_alive": leg.alive,
        "client_state": leg.client_state,
        **end_fields,
    }


def _log_entry(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    return {
        "record_type": "call_event",
        "type": "webhook",
        "name": data["event_type"],
        "event_timestamp": data["occurred_at"],
        "call_leg_id": data["payload"]["call_leg_id"],
        "call_session_id": data["payload"]["call_session_id"],
        "metadata": {"raw_event": event, "delivery": {"status": 200}},
    }


def _page(items: list[Any]) -> dict[str, Any]:
    meta = {"page_number": 1, "page_size": 250, "total_pages": 1, "total_results": len(items)}
    return {"data": items, "meta": meta}


def _get_by_id(items: dict[str, dict[str, Any]], item_id: str) -> dict[str, Any]:
    for item in items.values():
        if item["id"] == item_id:
            return item
    raise TelnyxError(404, "10005", "Resource not found")


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
