"""Adapter of a carrier in another process: the fake carrier's requests, sent over HTTP."""

import base64
import http.client
import os
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit
from uuid import UUID

from vca.kit import clock, json
from vca.settings import Settings
from vca.telephony.adapter import TelephonyError, limit_size
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import (
    CallEvent,
    CallReply,
    CallStatus,
    OutboundCall,
    PlacedCallQuery,
    Recording,
)

PROVIDER_TYPE = "rehearsed"
ADAPTER_PATH = "tests.support.carrier_adapter:RemoteCarrierAdapter"
SERVER_URL_VARIABLE = "REHEARSED_CARRIER_URL"
_TIMEOUT_S = 5


class RemoteCarrierAdapter(FakeTelephonyAdapter):
    """Adapter without simulated calls: they occupy slots, and their recordings are fetched."""

    name: ClassVar[str] = PROVIDER_TYPE
    simulated: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        return cls(f"fake-carrier|{settings.secret_key}")

    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Do nothing: every number leads to this carrier."""

    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Do nothing."""

    def place_call(self, call: OutboundCall) -> str:
        return str(_request("place_call", reference=call.reference, state=call.state))

    def find_call(self, query: PlacedCallQuery) -> str | None:
        call_id: str | None = _request("find_call", reference=query.reference)
        return call_id

    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        has_ended = _request("look_up", call_id=provider_call_id)
        if has_ended is None:
            return None
        if not has_ended:
            return CallStatus(provider_call_id)
        key = f"completed-{provider_call_id}"
        event = CallEvent("ENDED", provider_call_id, clock.now(), key, end_reason="caller_hangup")
        return CallStatus(provider_call_id, event)

    def hang_up(self, provider_call_id: str) -> None:
        _request("hang_up", call_id=provider_call_id)

    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        raise TelephonyError("this carrier cannot update live calls", permanent=True)

    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        audio = _request("recording", call_id=provider_call_id)
        return Recording("audio/wav", limit_size([base64.b64decode(audio)])) if audio else None

    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        _request("delete_recording", call_id=provider_call_id)


def _request(method: str, **arguments: str) -> Any:
    server_url = urlsplit(os.environ[SERVER_URL_VARIABLE])
    connection = http.client.HTTPConnection(server_url.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"/{method}", body=json.dumps(arguments))
        return json.loads(connection.getresponse().read())
    except OSError as error:
        raise TelephonyError(
            "the carrier is not reachable", permanent=False, ambiguous=True
        ) from error
    finally:
        connection.close()
