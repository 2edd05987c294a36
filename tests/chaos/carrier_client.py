"""A carrier's client for one call. It repeats requests without a response, as carriers do."""

import http.client
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support.carrier_adapter import RemoteCarrierAdapter
from tests.support.carrier_server import CarrierCall, CarrierServer
from vca.kit import json

CALLER = "+442079460000"
_BASE_PATH = "/telephony/rehearsed/"
_RETRY_PAUSES_S = (0.1, 0.3, 0.5, 1.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0)
_TIMEOUT_S = 20


class NoResponse(Exception):
    """Raised if VCA did not respond to any of the repeated requests."""


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> Any:
    """Send a request until there is a response; return its JSON. Raise NoResponse without one."""
    last_error = ""
    for pause_s in _RETRY_PAUSES_S:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
            if response.status < 300:
                return json.loads(content)
            last_error = f"{response.status} {content[:200].decode(errors='replace')}"
            if response.status < 500 and response.status != 409:
                break
        except (OSError, http.client.HTTPException) as error:
            last_error = repr(error)
        finally:
            connection.close()
        time.sleep(pause_s)
    raise NoResponse(f"{path}: {last_error}")


@dataclass
class RetryingCarrierClient:
    """The carrier's side of one call, with VCA's latest actions and state token."""

    server: CarrierServer
    adapter: RemoteCarrierAdapter
    port: int
    call: CarrierCall
    state: str = ""
    spoken_texts: list[str] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)

    def ring(self, to: str) -> None:
        """Start the call as an inbound call."""
        self._send("voice", to=to, **{"from": CALLER})

    def answer(self) -> None:
        """Report that the callee has answered."""
        self._send("answered")

    def say(self, text: str) -> None:
        """Send an utterance of the caller, and poll until the response is complete."""
        self._send("speech", text=text)
        while self.actions[-1]["type"] == "come_back":
            self._send("more")

    def end_leg(self, outcome: str) -> None:
        """Send the outcome of a transfer."""
        self._send("leg", outcome=outcome)

    def hang_up(self, *, send_event: bool = True) -> None:
        """End the call. Without `send_event`, VCA gets no event of it."""
        self.server.end_call(self.call)
        if send_event:
            self._send("status", status="completed")

    @property
    def last_action(self) -> str:
        """Return the type of the latest action, or an empty string."""
        return str(self.actions[-1]["type"]) if self.actions else ""

    def _send(self, action: str, **fields: Any) -> None:
        state = {"state": self.state} if self.state else {}
        request = self.adapter.signed_request(
            action, _BASE_PATH, call_id=self.call.provider_call_id, **state, **fields
        )
        headers = {"Content-Type": "application/json", **request.headers}
        try:
            response_body = post(self.port, request.url, request.body, headers)
        except NoResponse:
            self.server.end_call(self.call)  # a caller who hears silence for this long hangs up
            raise
        self.state = response_body["state"] or self.state
        self.actions = response_body["actions"] or self.actions
        self.spoken_texts += [
            reply_action["text"]
            for reply_action in response_body["actions"]
            if reply_action["type"] == "say"
        ]
        if any(reply_action["type"] == "record" for reply_action in response_body["actions"]):
            self.call.is_recorded = True
