"""A call through Twilio from ring to hang-up: it does what the last document says, and tells us."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from werkzeug.test import TestResponse

from tests.carriers.twilio import webhooks
from tests.carriers.twilio.account import sid
from tests.carriers.twilio.rig import OURS
from tests.carriers.twilio.twiml import Document, document
from tests.support.api import Api
from vca.telephony.providers.twilio.settings import TwilioCredentials
from vca.telephony.types import CarrierRequest

BASE = "/telephony/twilio/"
CALLER = "+14155550123"


@dataclass
class TwilioCall:
    """An inbound call; `copies` is how often each request is sent, `sent` what was, in order.

    `login` is whose Twilio it comes through.
    """

    api: Api
    to: str
    caller: str = CALLER
    copies: int = 1
    login: TwilioCredentials = OURS
    sid: str = field(default_factory=lambda: sid("CA"))
    sent: list[CarrierRequest] = field(default_factory=list)
    heard: Document | None = None

    def ring(self) -> Document:
        return self._post(f"{BASE}voice", "ringing")

    def say(self, words: str) -> Document:
        """The caller speaks."""
        return self._ended("Gather", SpeechResult=words, Confidence="0.91")

    def press(self, keys: str) -> Document:
        return self._ended("Gather", Digits=keys)

    def stay_silent(self) -> Document:
        return self._ended("Gather")

    def come_back(self) -> Document:
        """For the rest of an answer."""
        return self._ended("Redirect")

    def relay_ended(self, handoff: str | None, status: str = "in-progress") -> Document:
        """The socket has ended; without a word if it broke."""
        said = {"SessionId": "VX1", "SessionStatus": "ended", "HandoffData": handoff}
        assert self.heard is not None
        return self._post(self.heard.action("Connect"), status, **said)

    def leg_ended(self, status: str) -> Document:
        """Whom we dialled did so."""
        return self._ended("Dial", DialCallStatus=status, DialCallSid=sid("CA"))

    def leave_message(self, recording_sid: str | None) -> Document:
        """The caller speaks after the tone, or says nothing."""
        if recording_sid is None:
            return self._ended("Redirect")
        return self._ended("Record", RecordingSid=recording_sid, RecordingDuration="7", Digits="#")

    def recorded(self, told_at: str, recording_sid: str, status: str = "completed") -> Document:
        """The call's recording is there, or is not."""
        said = {"CallSid": self.sid, "RecordingSid": recording_sid, "RecordingStatus": status}
        return self.deliver(webhooks.signed(self.login, told_at, said))

    def hang_up(self, status: str = "completed") -> Document:
        """The call's end, as the number's status callback tells it."""
        time = "Thu, 26 Nov 2099 12:00:00 +0000"
        return self._post(f"{BASE}status", status, Timestamp=time, CallDuration="42")

    def deliver(self, request: CarrierRequest) -> Document:
        """Send a request as often as is to be; the last answer."""
        self.sent.append(request)
        for _ in range(self.copies):
            response = send(self.api, request)
            assert response.status_code == 200, response.text
            assert response.mimetype == "text/xml"
        return document(response.data)

    @contextmanager
    def once(self) -> Iterator[None]:
        """Send each request once here."""
        copies, self.copies = self.copies, 1
        yield
        self.copies = copies

    def _ended(self, verb: str, **said: Any) -> Document:
        assert self.heard is not None
        return self._post(self.heard.action(verb), "in-progress", **said)

    def _post(self, url: str, status: str, **said: Any) -> Document:
        form = webhooks.inbound(self.sid, to=self.to, caller=self.caller, status=status)
        self.heard = self.deliver(webhooks.signed(self.login, url, {**form, **said}))
        return self.heard


def send(api: Api, request: CarrierRequest) -> TestResponse:
    """A request as it is."""
    return api.send("POST", request.url, data=request.body, headers=dict(request.headers))
