"""The resources of one fake Twilio account, and the operations of its REST API."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

LIVE_STATUSES = ("queued", "ringing", "in-progress")
_sids = count(1)
Answer = tuple[int, Any]


class TwilioError(Exception):
    """An error response of Twilio, with its code."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.response = (
            status,
            {
                "code": code,
                "message": message,
                "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "status": status,
            },
        )


def new_sid(kind: str) -> str:
    """Return a new id in Twilio's format."""
    return f"{kind}f{next(_sids):031x}"


@dataclass
class TwilioRequest:
    """A request: method, path, and the fields of its form or query."""

    method: str
    path: str
    fields: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        return self.fields[name][0] if name in self.fields else None


class TwilioAccount:
    """Numbers, calls, recordings and applications, as the API represents them."""

    def __init__(self, account_sid: str, auth_token: str) -> None:
        self.sid, self.token = account_sid, auth_token
        self.numbers: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}
        self.recordings: dict[str, dict[str, Any]] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.audio: dict[str, bytes] = {}
        self.requests: list[TwilioRequest] = []
        self.call_updates: list[tuple[str, dict[str, str]]] = []
        self.after_number_update: list[Callable[[], None]] = []
        self._lock = Lock()

    # Setup by tests

    def add_number(self, phone_number: str, **fields: Any) -> dict[str, Any]:
        """Add a number to the account, as if it had been bought."""
        number = {
            "sid": new_sid("PN"),
            "account_sid": self.sid,
            "phone_number": phone_number,
            "friendly_name": f"({phone_number[2:5]}) {phone_number[5:8]}-{phone_number[8:]}",
            "voice_url": "https://demo.twilio.com/welcome/voice/",
            "voice_method": "POST",
            "voice_fallback_url": "",
            "voice_fallback_method": "POST",
            "status_callback": "",
            "status_callback_method": "POST",
            "voice_application_sid": None,
            "trunk_sid": None,
            **fields,
        }
        self.numbers[number["sid"]] = number
        return number

    def find_number(self, phone_number: str) -> dict[str, Any] | None:
        return next(
            (number for number in self.numbers.values() if number["phone_number"] == phone_number),
            None,
        )

    def set_call(self, call_sid: str, status: str = "in-progress", **fields: Any) -> dict[str, Any]:
        """Set the status and fields of a call; create it if it is unknown."""
        existing = self.calls.get(call_sid)
        call = existing or self._add_call(call_sid, "inbound", "+14155550123", "+14155550100")
        end_time = None if status in LIVE_STATUSES else _now()
        call.update(status=status, end_time=end_time, **fields)
        return call

    def add_recording(
        self, call_sid: str, audio: bytes, *, status: str = "completed", age_s: int = 0
    ) -> str:
        """Add a recording of a call with two channels."""
        recording = {
            "sid": new_sid("RE"),
            "account_sid": self.sid,
            "call_sid": call_sid,
            "status": status,
            "channels": 2,
            "source": "StartCallRecordingAPI",
            "date_created": _now(-age_s),
            "duration": "42",
        }
        self.recordings[str(recording["sid"])] = recording
        self.audio[str(recording["sid"])] = audio
        return str(recording["sid"])

    # Requests

    def handle(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Execute a request and return its response. Raise TwilioError."""
        text = body.decode() if method == "POST" else query
        request = TwilioRequest(method, path, parse_qs(text, keep_blank_values=True))
        with self._lock:
            self.requests.append(request)
            for pattern, operation in _OPERATIONS.items():
                if match := re.fullmatch(pattern, f"{method} {path}"):
                    return operation(self, request, **match.groupdict())
        raise TwilioError(404, 20404, f"The requested resource {path} was not found")

    def recording_audio(self, recording_sid: str) -> bytes | None:
        """Return the audio of a recording."""
        return self.audio.get(recording_sid)

    def _list_numbers(self, request: TwilioRequest) -> Answer:
        # Twilio returns all numbers that contain the given part.
        number_part = request.get("PhoneNumber") or ""
        numbers = [
            dict(number)
            for number in self.numbers.values()
            if number_part in number["phone_number"]
        ]
        return 200, _page(request, "incoming_phone_numbers", numbers)

    def _update_number(self, request: TwilioRequest, sid: str) -> Answer:
        number = _get_or_404(self.numbers, sid)
        for name, values in request.fields.items():
            number[_snake(name)] = values[0] or None
        if request.get("VoiceApplicationSid"):
            number["trunk_sid"] = None
        representation = dict(number)
        for callback in self.after_number_update:
            callback()
        return 200, representation

    def _create_call(self, request: TwilioRequest) -> Answer:
        to, caller = request.get("To") or "", request.get("From") or ""
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", to):
            raise TwilioError(
                400, 21211, f"The phone number you are attempting to call, {to}, is not"
            )
        call = self._add_call(new_sid("CA"), "outbound-api", caller, to)
        return 201, {**call, "status": "queued"}

    def _list_calls(self, request: TwilioRequest) -> Answer:
        calls = [
            dict(call)
            for call in reversed(self.calls.values())
            if request.get("To") in (None, call["to"])
            and request.get("From") in (None, call["from"])
        ]
        return 200, _page(request, "calls", calls)

    def _get_call(self, request: TwilioRequest, sid: str) -> Answer:
        return 200, dict(_get_or_404(self.calls, sid))

    def _update_call(self, request: TwilioRequest, sid: str) -> Answer:
        call = _get_or_404(self.calls, sid)
        if call["status"] not in LIVE_STATUSES:
            raise TwilioError(400, 21220, "Call is not in-progress. Cannot redirect.")
        if len(request.get("Twiml") or "") > 4_000:
            raise TwilioError(400, 32018, "Twiml size exceeded maximum allowed value")
        self.call_updates.append(
            (sid, {name: values[0] for name, values in request.fields.items()})
        )
        if request.get("Status"):
            call.update(status=request.get("Status"), end_time=_now())
        return 200, dict(call)

    def _list_recordings(self, request: TwilioRequest, sid: str) -> Answer:
        recordings = [
            dict(recording)
            for recording in self.recordings.values()
            if recording["call_sid"] == sid
        ]
        return 200, _page(request, "recordings", recordings[::-1])

    def _get_recording(self, request: TwilioRequest, sid: str) -> Answer:
        return 200, dict(_get_or_404(self.recordings, sid))

    def _delete_recording(self, request: TwilioRequest, sid: str) -> Answer:
        _get_or_404(self.recordings, sid)
        del self.recordings[sid], self.audio[sid]
        return 204, None

    def _list_applications(self, request: TwilioRequest) -> Answer:
        friendly_name = request.get("FriendlyName")
        applications = [
            dict(application)
            for application in self.applications.values()
            if application["friendly_name"] == friendly_name
        ]
        return 200, _page(request, "applications", applications)

    def _create_application(self, request: TwilioRequest) -> Answer:
        application = {"sid": new_sid("AP"), "account_sid": self.sid}
        application |= {_snake(name): values[0] for name, values in request.fields.items()}
        self.applications[application["sid"]] = application
        return 201, dict(application)

    def _add_call(self, call_sid: str, direction: str, caller: str, to: str) -> dict[str, Any]:
        call = {
            "sid": call_sid,
            "account_sid": self.sid,
            "direction": direction,
            "from": caller,
            "to": to,
            "status": "queued",
            "date_created": _now(),
            "start_time": None,
            "end_time": None,
        }
        self.calls[call_sid] = call
        return call


_ACCOUNT = "/2010-04-01/Accounts/AC[0-9a-f]{32}"
_OPERATIONS: dict[str, Callable[..., Answer]] = {
    f"GET {_ACCOUNT}/IncomingPhoneNumbers.json": TwilioAccount._list_numbers,
    f"POST {_ACCOUNT}/IncomingPhoneNumbers/(?P<sid>PN\\w+).json": TwilioAccount._update_number,
    f"POST {_ACCOUNT}/Calls.json": TwilioAccount._create_call,
    f"GET {_ACCOUNT}/Calls.json": TwilioAccount._list_calls,
    f"GET {_ACCOUNT}/Calls/(?P<sid>CA\\w+).json": TwilioAccount._get_call,
    f"POST {_ACCOUNT}/Calls/(?P<sid>CA\\w+).json": TwilioAccount._update_call,
    f"GET {_ACCOUNT}/Calls/(?P<sid>CA\\w+)/Recordings.json": TwilioAccount._list_recordings,
    f"GET {_ACCOUNT}/Recordings/(?P<sid>RE\\w+).json": TwilioAccount._get_recording,
    f"DELETE {_ACCOUNT}/Recordings/(?P<sid>RE\\w+).json": TwilioAccount._delete_recording,
    f"GET {_ACCOUNT}/Applications.json": TwilioAccount._list_applications,
    f"POST {_ACCOUNT}/Applications.json": TwilioAccount._create_application,
}


def _get_or_404(resources: dict[str, dict[str, Any]], sid: str) -> dict[str, Any]:
    if sid not in resources:
        raise TwilioError(404, 20404, f"The requested resource {sid} was not found")
    return resources[sid]


def _page(request: TwilioRequest, name: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    size = int(request.get("PageSize") or 50)
    return {
        name: resources[:size],
        "page": 0,
        "page_size": size,
        "start": 0,
        "end": max(0, len(resources[:size]) - 1),
        "uri": request.path,
        "first_page_uri": request.path,
        "next_page_uri": None,
        "previous_page_uri": None,
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _now(offset_s: float = 0) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=offset_s))
