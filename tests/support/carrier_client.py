"""Send the fake carrier's webhooks, signed, to the API."""

from typing import Any

from tests.support.api import Api, ApiResponse
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest

BASE_PATH = "/telephony/fake/"
CALLER = "+14155550123"


class CarrierClient:
    """Client of one carrier; `api` has no key."""

    def __init__(self, carrier: FakeTelephonyAdapter, api: Api) -> None:
        self._carrier = carrier
        self._api = api

    def send(self, request: CarrierRequest, **headers: str) -> ApiResponse:
        """Send a prepared request with additional headers."""
        return self._api.send(
            "POST", request.url, data=request.body, headers={**request.headers, **headers}
        )

    def ring(self, to: str, call_id: str, caller: str | None = CALLER) -> dict[str, Any]:
        """Start an inbound call and return the response: what the carrier shall do."""
        return self._send_action("voice", call_id=call_id, to=to, **{"from": caller})

    def say(self, call_id: str, state: str, text: str) -> dict[str, Any]:
        """Send what the caller said."""
        return self._send_action("speech", call_id=call_id, state=state, text=text)

    def send_status(self, call_id: str, status: str, **fields: Any) -> dict[str, Any]:
        """Send a change of the call's status."""
        return self._send_action("status", call_id=call_id, status=status, **fields)

    def send_event(
        self, kind: str, call_id: str, state: str | None, **fields: Any
    ) -> dict[str, Any]:
        """Send any other event, with the fake carrier's field names."""
        return self._send_action(kind, call_id=call_id, state=state, **fields)

    def build_request(self, action: str, **fields: Any) -> CarrierRequest:
        """Return a signed request without sending it."""
        return self._carrier.signed_request(action, BASE_PATH, **fields)

    def _send_action(self, action: str, **fields: Any) -> dict[str, Any]:
        response = self.send(self.build_request(action, **fields))
        assert response.status_code == 200, response.text
        response_body: dict[str, Any] = json.loads(response.data)
        return response_body


def action_types(response_body: dict[str, Any]) -> list[str]:
    """Return the types of the response's actions, in order."""
    return [action["type"] for action in response_body["actions"]]


def spoken_text(response_body: dict[str, Any]) -> str:
    """Return the text that the caller hears."""
    return " ".join(
        action["text"] for action in response_body["actions"] if action["type"] == "say"
    )
