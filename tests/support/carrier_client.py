"""The carrier's end of the line: sends what the fake carrier sends, signed, over HTTP."""

from typing import Any

from werkzeug.test import TestResponse

from tests.support.api import Api
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest

BASE_PATH = "/telephony/fake/"
CALLER = "+14155550123"


class CarrierClient:
    """One carrier that calls; `api` has no key."""

    def __init__(self, carrier: FakeTelephonyAdapter, api: Api) -> None:
        self._carrier = carrier
        self._api = api

    def send(self, request: CarrierRequest, **headers: str) -> TestResponse:
        """Send a request as it is, with more headers."""
        return self._api.send(
            "POST", request.url, data=request.body, headers={**request.headers, **headers}
        )

    def ring(self, to: str, call_id: str, caller: str | None = CALLER) -> dict[str, Any]:
        """A call rings; what the carrier is told to do."""
        return self._send_action("voice", call_id=call_id, to=to, **{"from": caller})

    def say(self, call_id: str, state: str, text: str) -> dict[str, Any]:
        """The caller speaks."""
        return self._send_action("speech", call_id=call_id, state=state, text=text)

    def send_status(self, call_id: str, status: str, **fields: Any) -> dict[str, Any]:
        """The call changes."""
        return self._send_action("status", call_id=call_id, status=status, **fields)

    def send_event(
        self, kind: str, call_id: str, state: str | None, **fields: Any
    ) -> dict[str, Any]:
        """The carrier tells any other fact, in its own words."""
        return self._send_action(kind, call_id=call_id, state=state, **fields)

    def build_request(self, action: str, **fields: Any) -> CarrierRequest:
        """What the carrier would send, not sent yet."""
        return self._carrier.signed_request(action, BASE_PATH, **fields)

    def _send_action(self, action: str, **fields: Any) -> dict[str, Any]:
        response = self.send(self.build_request(action, **fields))
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = json.loads(response.data)
        return answer


def action_types(answer: dict[str, Any]) -> list[str]:
    """What the carrier is told to do, in order."""
    return [action["type"] for action in answer["actions"]]


def spoken_text(answer: dict[str, Any]) -> str:
    """What the caller hears."""
    return " ".join(action["text"] for action in answer["actions"] if action["type"] == "say")
