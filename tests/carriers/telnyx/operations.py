"""What Telnyx's API does: an operation is a method that gives its answer, and that one's schema."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.carriers.telnyx import schemas
from tests.carriers.telnyx.calls import CONNECTION, Leg, Refused, Switch


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any


@dataclass
class Account:
    """What an account holds."""

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)
    credentials: dict[str, dict[str, Any]] = field(default_factory=dict)
    switch: Switch = field(default_factory=Switch)

    def own(self, number: str, *tags: str, connection_id: str = "") -> None:
        """Let the account have bought this number."""
        self.numbers[number] = {
            "id": str(uuid4().int)[:19],
            "phone_number": number,
            "status": "active",
            "tags": list(tags),
            "connection_id": connection_id,
        }


Answer = tuple[dict[str, Any], Any]


class Api:
    """The operations on an account, whose recordings lie at `store`."""

    def __init__(self, account: Account, store: str) -> None:
        self.account = account
        self.store = store

    def dial(self, asked: Asked) -> Answer:
        return schemas.one(schemas.CALL), {"data": call_of(self.account.switch.dial(asked.body))}

    def status(self, asked: Asked, call: str) -> Answer:
        return schemas.one(schemas.CALL), {"data": call_of(self.account.switch.find(call))}

    def command(self, asked: Asked, call: str, command: str) -> Answer:
        self.account.switch.command(call, command, asked.body)
        return schemas.OK, {"data": {"result": "ok"}}

    def active(self, asked: Asked, connection: str) -> Answer:
        legs = self.account.switch.legs.values()
        live = [call_of(leg) for leg in legs if leg.alive and leg.connection_id == connection]
        return schemas.page(schemas.CALL), _page(live)

    def log(self, asked: Asked) -> Answer:
        wanted = {
            "leg_id": asked.query.get("filter[leg_id]"),
            "to": asked.query.get("filter[to]"),
        }
        since = asked.query.get("filter[occurred_at][gte]", "")
        assert asked.query["filter[type]"] == "webhook"
        found = [
            _logged(event)
            for event in self.account.switch.told
            if wanted["leg_id"] in (None, event["data"]["payload"]["call_leg_id"])
            and wanted["to"] in (None, event["data"]["payload"].get("to"))
            and (not since or _moment(since) <= _moment(event["data"]["occurred_at"]))
        ]
        return schemas.page(schemas.LOGGED), _page(found)

    def numbers(self, asked: Asked) -> Answer:
        part = asked.query["filter[phone_number]"].lstrip("+")
        found = [one for number, one in self.account.numbers.items() if part in number]
        return schemas.page(schemas.NUMBER), _page(found)

    def change_number(self, asked: Asked, number_id: str) -> Answer:
        found = _by_id(self.account.numbers, number_id)
        found.update(asked.body)
        return schemas.one(schemas.NUMBER), {"data": found}

    def applications(self, asked: Asked) -> Answer:
        part = asked.query["filter[application_name][contains]"]
        known = self.account.applications.values()
        found = [one for one in known if part in one["application_name"]]
        return schemas.page({"type": "object"}), _page(found)

    def application(self, asked: Asked, application_id: str) -> Answer:
        found = _by_id(self.account.applications, application_id)
        return schemas.one({"type": "object"}), {"data": found}

    def make_application(self, asked: Asked) -> Answer:
        made = {
            "id": str(uuid4().int)[:19] if self.account.applications else CONNECTION,
            "record_type": "call_control_application",
            "webhook_api_version": "1",
            "webhook_timeout_secs": None,
            "first_command_timeout": False,
            "first_command_timeout_secs": 30,
            **asked.body,
        }
        self.account.applications[made["id"]] = made
        return schemas.one({"type": "object"}), {"data": made}

    def change_application(self, asked: Asked, application_id: str) -> Answer:
        found = _by_id(self.account.applications, application_id)
        found.update(asked.body)
        return schemas.one({"type": "object"}), {"data": found}

    def recordings(self, asked: Asked) -> Answer:
        call = asked.query["filter[call_control_id]"]
        known = self.account.switch.recordings.items()
        found = [
            {
                "id": recording,
                "call_control_id": of,
                "status": "completed",
                "recording_started_at": "2026-11-22T18:00:00Z",
                "download_urls": {"wav": f"{self.store}/{recording}"},
            }
            for recording, (of, _) in known
            if of == call
        ]
        return schemas.page(schemas.RECORDING), _page(found)

    def delete_recording(self, asked: Asked, recording: str) -> Answer:
        if self.account.switch.recordings.pop(recording, None) is None:
            raise Refused(404, "10005", "Resource not found")
        return {"type": "object"}, {"data": {"id": recording}}

    def make_credential(self, asked: Asked) -> Answer:
        made = {
            "id": str(uuid4()),
            "sip_username": f"gencred{uuid4().hex}",
            "expired": False,
            **asked.body,
        }
        self.account.credentials[made["id"]] = made
        return schemas.one({"type": "object"}), {"data": made}

    def token(self, asked: Asked, credential: str) -> Answer:
        found = _by_id(self.account.credentials, credential)
        return {"type": "string"}, f"ey.token-of.{found['id']}"


Operation = Callable[..., Answer]
_CALL = "/calls/{call_control_id}"
_ACTION = f"{_CALL}/actions"
OPERATIONS: tuple[tuple[str, str, Operation, dict[str, Any] | None], ...] = (
    ("POST", "/calls", Api.dial, schemas.DIAL),
    ("GET", _CALL, Api.status, None),
    *(
        ("POST", f"{_CALL}/actions/{word}", Api.command, of)
        for word, of in schemas.COMMANDS.items()
    ),
    ("GET", "/connections/{connection_id}/active_calls", Api.active, None),
    ("GET", "/call_events", Api.log, None),
    ("GET", "/phone_numbers", Api.numbers, None),
    ("PATCH", "/phone_numbers/{id}", Api.change_number, schemas.NUMBER_CHANGED),
    ("GET", "/call_control_applications", Api.applications, None),
    ("POST", "/call_control_applications", Api.make_application, schemas.APPLICATION_MADE),
    ("GET", "/call_control_applications/{id}", Api.application, None),
    ("PATCH", "/call_control_applications/{id}", Api.change_application, schemas.APPLICATION_MADE),
    ("GET", "/recordings", Api.recordings, None),
    ("DELETE", "/recordings/{recording_id}", Api.delete_recording, None),
    ("POST", "/telephony_credentials", Api.make_credential, schemas.CREDENTIAL_MADE),
    ("POST", "/telephony_credentials/{id}/token", Api.token, None),
)


def call_of(leg: Leg) -> dict[str, Any]:
    """A call's status."""
    ended = {"end_time": leg.ended_at.isoformat()} if leg.ended_at else {}
    return {
        "record_type": "call",
        "call_control_id": leg.id,
        "call_leg_id": leg.leg_id,
        "call_session_id": leg.session_id,
        "is_alive": leg.alive,
        "client_state": leg.client_state,
        **ended,
    }


def _logged(event: dict[str, Any]) -> dict[str, Any]:
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


def _page(found: list[Any]) -> dict[str, Any]:
    meta = {"page_number": 1, "page_size": 250, "total_pages": 1, "total_results": len(found)}
    return {"data": found, "meta": meta}


def _by_id(known: dict[str, dict[str, Any]], wanted: str) -> dict[str, Any]:
    for one in known.values():
        if one["id"] == wanted:
            return one
    raise Refused(404, "10005", "Resource not found")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
