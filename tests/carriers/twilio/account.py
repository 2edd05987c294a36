"""What the fake Twilio holds of one account, and what its REST API does with it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

LIVE = ("queued", "ringing", "in-progress")
_sids = count(1)
Answer = tuple[int, Any]


class Refused(Exception):
    """Twilio refuses, with a code of its own."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = (
            status,
            {
                "code": code,
                "message": message,
                "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "status": status,
            },
        )


def sid(kind: str) -> str:
    """A new id, as Twilio has them."""
    return f"{kind}f{next(_sids):031x}"


@dataclass
class Asked:
    """One request: to what, and the fields of its form or of its query."""

    method: str
    path: str
    said: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        return self.said[name][0] if name in self.said else None


class TwilioAccount:
    """Numbers, calls, recordings and applications, in the shape in which the API shows them."""

    def __init__(self, account_sid: str, auth_token: str) -> None:
        self.sid, self.token = account_sid, auth_token
        self.numbers: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}
        self.recordings: dict[str, dict[str, Any]] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.audio: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.told: list[tuple[str, dict[str, str]]] = []
        self.after_changes: list[Callable[[], None]] = []
        self._lock = Lock()

    # --- What the world does -----------------------------------------------------------------

    def own(self, phone_number: str, **fields: Any) -> dict[str, Any]:
        """A number that somebody has bought."""
        number = {
            "sid": sid("PN"),
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

    def number(self, phone_number: str) -> dict[str, Any] | None:
        return next(
            (it for it in self.numbers.values() if it["phone_number"] == phone_number), None
        )

    def carry(self, call_sid: str, status: str = "in-progress", **fields: Any) -> dict[str, Any]:
        """A call in this status; one that is known changes."""
        known = self.calls.get(call_sid)
        call = known or self._call(call_sid, "inbound", "+14155550123", "+14155550100")
        ended = None if status in LIVE else _now()
        call.update(status=status, end_time=ended, **fields)
        return call

    def record(
        self, call_sid: str, audio: bytes, *, status: str = "completed", age_s: int = 0
    ) -> str:
        """A recording of a call, in two channels."""
        recording = {
            "sid": sid("RE"),
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

    # --- What is asked -----------------------------------------------------------------------

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """What the API answers; raises Refused."""
        text = body.decode() if method == "POST" else query
        asked = Asked(method, path, parse_qs(text, keep_blank_values=True))
        with self._lock:
            self.asked.append(asked)
            for pattern, operation in _OPERATIONS.items():
                if found := re.fullmatch(pattern, f"{method} {path}"):
                    return operation(self, asked, **found.groupdict())
        raise Refused(404, 20404, f"The requested resource {path} was not found")

    def media(self, recording_sid: str) -> bytes | None:
        """The audio of a recording."""
        return self.audio.get(recording_sid)

    def _list_numbers(self, asked: Asked) -> Answer:
        # As Twilio does: a part of a number finds all that hold it.
        wanted = asked.get("PhoneNumber") or ""
        found = [dict(it) for it in self.numbers.values() if wanted in it["phone_number"]]
        return 200, _page(asked, "incoming_phone_numbers", found)

    def _set_number(self, asked: Asked, sid: str) -> Answer:
        number = _known(self.numbers, sid)
        for name, values in asked.said.items():
            number[_snake(name)] = values[0] or None
        if asked.get("VoiceApplicationSid"):
            number["trunk_sid"] = None
        answer = dict(number)
        for happens in self.after_changes:
            happens()
        return 200, answer

    def _place(self, asked: Asked) -> Answer:
        to, caller = asked.get("To") or "", asked.get("From") or ""
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", to):
            raise Refused(400, 21211, f"The phone number you are attempting to call, {to}, is not")
        call = self._call(sid("CA"), "outbound-api", caller, to)
        return 201, {**call, "status": "queued"}

    def _list_calls(self, asked: Asked) -> Answer:
        found = [
            dict(it)
            for it in reversed(self.calls.values())
            if asked.get("To") in (None, it["to"]) and asked.get("From") in (None, it["from"])
        ]
        return 200, _page(asked, "calls", found)

    def _call_of(self, asked: Asked, sid: str) -> Answer:
        return 200, dict(_known(self.calls, sid))

    def _change_call(self, asked: Asked, sid: str) -> Answer:
        call = _known(self.calls, sid)
        if call["status"] not in LIVE:
            raise Refused(400, 21220, "Call is not in-progress. Cannot redirect.")
        if len(asked.get("Twiml") or "") > 4_000:
            raise Refused(400, 32018, "Twiml size exceeded maximum allowed value")
        self.told.append((sid, {name: values[0] for name, values in asked.said.items()}))
        if asked.get("Status"):
            call.update(status=asked.get("Status"), end_time=_now())
        return 200, dict(call)

    def _recordings_of(self, asked: Asked, sid: str) -> Answer:
        found = [dict(it) for it in self.recordings.values() if it["call_sid"] == sid]
        return 200, _page(asked, "recordings", found[::-1])

    def _recording(self, asked: Asked, sid: str) -> Answer:
        return 200, dict(_known(self.recordings, sid))

    def _delete_recording(self, asked: Asked, sid: str) -> Answer:
        _known(self.recordings, sid)
        del self.recordings[sid], self.audio[sid]
        return 204, None

    def _list_applications(self, asked: Asked) -> Answer:
        wanted = asked.get("FriendlyName")
        found = [dict(it) for it in self.applications.values() if it["friendly_name"] == wanted]
        return 200, _page(asked, "applications", found)

    def _new_application(self, asked: Asked) -> Answer:
        made = {"sid": sid("AP"), "account_sid": self.sid}
        made |= {_snake(name): values[0] for name, values in asked.said.items()}
        self.applications[made["sid"]] = made
        return 201, dict(made)

    def _call(self, call_sid: str, direction: str, caller: str, to: str) -> dict[str, Any]:
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
    f"POST {_ACCOUNT}/IncomingPhoneNumbers/(?P<sid>PN\\w+).json": TwilioAccount._set_number,
    f"POST {_ACCOUNT}/Calls.json": TwilioAccount._place,
    f"GET {_ACCOUNT}/Calls.json": TwilioAccount._list_calls,
    f"GET {_ACCOUNT}/Calls/(?P<sid>CA\\w+).json": TwilioAccount._call_of,
    f"POST {_ACCOUNT}/Calls/(?P<sid>CA\\w+).json": TwilioAccount._change_call,
    f"GET {_ACCOUNT}/Calls/(?P<sid>CA\\w+)/Recordings.json": TwilioAccount._recordings_of,
    f"GET {_ACCOUNT}/Recordings/(?P<sid>RE\\w+).json": TwilioAccount._recording,
    f"DELETE {_ACCOUNT}/Recordings/(?P<sid>RE\\w+).json": TwilioAccount._delete_recording,
    f"GET {_ACCOUNT}/Applications.json": TwilioAccount._list_applications,
    f"POST {_ACCOUNT}/Applications.json": TwilioAccount._new_application,
}


def _known(held: dict[str, dict[str, Any]], sid: str) -> dict[str, Any]:
    if sid not in held:
        raise Refused(404, 20404, f"The requested resource {sid} was not found")
    return held[sid]


def _page(asked: Asked, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    size = int(asked.get("PageSize") or 50)
    return {
        name: found[:size],
        "page": 0,
        "page_size": size,
        "start": 0,
        "end": max(0, len(found[:size]) - 1),
        "uri": asked.path,
        "first_page_uri": asked.path,
        "next_page_uri": None,
        "previous_page_uri": None,
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _now(later_s: float = 0) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=later_s))
