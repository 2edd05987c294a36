"""An inbound call through Twilio: follows the latest TwiML document and sends webhooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.carriers.twilio import webhooks
from tests.fakes.carriers.twilio.account import new_sid
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN
from tests.fakes.carriers.twilio.twiml import TwimlDocument, parse_twiml
from tests.support.api import Api, ApiResponse
from vca.telephony.providers.twilio.settings import TwilioCredentials
from vca.telephony.types import CarrierRequest

BASE_PATH = "/telephony/twilio/"
CALLER = "+14155550123"


@dataclass
class TwilioCall:
    """An inbound call. Each request is sent `copies` times; `sent_requests` are in order.

    `login` is the Twilio account of the call. `alter_url` changes each URL before it is requested.
    """

    api: Api
    to: str
    caller: str = CALLER
    copies: int = 1
    login: TwilioCredentials = ACCOUNT_LOGIN
    sid: str = field(default_factory=lambda: new_sid("CA"))
    sent_requests: list[CarrierRequest] = field(default_factory=list)
    twiml: TwimlDocument | None = None
    alter_url: Callable[[str], str] = str

    def ring(self) -> TwimlDocument:
        return self._post(f"{BASE_PATH}voice", "ringing")

    def say(self, text: str) -> TwimlDocument:
        """Send what the caller says."""
        return self._end_verb("Gather", SpeechResult=text, Confidence="0.91")

    def press(self, keys: str) -> TwimlDocument:
        return self._end_verb("Gather", Digits=keys)

    def stay_silent(self) -> TwimlDocument:
        return self._end_verb("Gather")

    def poll(self) -> TwimlDocument:
        """Follow the redirect for the rest of a response."""
        return self._end_verb("Redirect")

    def end_relay(self, handoff: str | None, status: str = "in-progress") -> TwimlDocument:
        """Report that the WebSocket has ended; without handoff data if it broke."""
        fields = {"SessionId": "VX1", "SessionStatus": "ended", "HandoffData": handoff}
        assert self.twiml is not None
        return self._post(self.twiml.next_url("Connect"), status, **fields)

    def end_leg(self, status: str) -> TwimlDocument:
        """Report the outcome of the dialled leg."""
        return self._end_verb("Dial", DialCallStatus=status, DialCallSid=new_sid("CA"))

    def leave_message(self, recording_sid: str | None) -> TwimlDocument:
        """Report a voicemail, or none if the caller said nothing after the tone."""
        if recording_sid is None:
            return self._end_verb("Redirect")
        return self._end_verb(
            "Record", RecordingSid=recording_sid, RecordingDuration="7", Digits="#"
        )

    def report_recording(
        self, callback_url: str, recording_sid: str, status: str = "completed"
    ) -> TwimlDocument:
        """Report the status of the call's recording."""
        fields = {"CallSid": self.sid, "RecordingSid": recording_sid, "RecordingStatus": status}
        return self.deliver(webhooks.signed_request(self.login, callback_url, fields))

    def hang_up(self, status: str = "completed") -> TwimlDocument:
        """Send the call's end to the number's status callback."""
        time = "Thu, 26 Nov 2099 12:00:00 +0000"
        return self._post(f"{BASE_PATH}status", status, Timestamp=time, CallDuration="42")

    def deliver(self, request: CarrierRequest) -> TwimlDocument:
        """Send a request `copies` times and return the last document."""
        self.sent_requests.append(request)
        for _ in range(self.copies):
            response = send(self.api, request)
            assert response.status_code == 200, response.text
            assert response.mimetype == "text/xml"
        return parse_twiml(response.data)

    @contextmanager
    def send_once(self) -> Iterator[None]:
        """Send each request once inside the block."""
        copies, self.copies = self.copies, 1
        yield
        self.copies = copies

    def _end_verb(self, verb: str, **fields: Any) -> TwimlDocument:
        assert self.twiml is not None
        return self._post(self.twiml.next_url(verb), "in-progress", **fields)

    def _post(self, url: str, status: str, **fields: Any) -> TwimlDocument:
        form = webhooks.inbound_form(self.sid, to=self.to, caller=self.caller, status=status)
        request = webhooks.signed_request(self.login, self.alter_url(url), {**form, **fields})
        self.twiml = self.deliver(request)
        return self.twiml


def send(api: Api, request: CarrierRequest) -> ApiResponse:
    """Send a prepared request."""
    return api.send("POST", request.url, data=request.body, headers=dict(request.headers))
