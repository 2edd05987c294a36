"""The adapter of a carrier that runs outside our processes: the fake one's words, over HTTP."""

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
from vca.telephony.types import CallEvent, CallReply, CallStatus, OutboundCall, Recording

NAME = "rehearsed"
PATH = "tests.support.carrier_adapter:RehearsedAdapter"
URL = "REHEARSED_CARRIER_URL"
_TIMEOUT_S = 5


class RehearsedAdapter(FakeTelephonyAdapter):
    """Its calls are real to VCA: they hold lines, and their audio is fetched."""

    name: ClassVar[str] = NAME
    simulated: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        return cls(f"fake-carrier|{settings.secret_key}")

    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Nothing to do: every number leads here."""

    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Nothing to do."""

    def place_call(self, call: OutboundCall) -> str:
        return str(_ask("place_call", reference=call.reference, state=call.state))

    def find_call(self, call: OutboundCall) -> str | None:
        found: str | None = _ask("find_call", reference=call.reference)
        return found

    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        over = _ask("look_up", call_id=provider_call_id)
        if over is None:
            return None
        if not over:
            return CallStatus(provider_call_id)
        key = f"completed-{provider_call_id}"
        event = CallEvent("ENDED", provider_call_id, clock.now(), key, end_reason="caller_hangup")
        return CallStatus(provider_call_id, event)

    def hang_up(self, provider_call_id: str) -> None:
        _ask("hang_up", call_id=provider_call_id)

    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        raise TelephonyError("this carrier takes no orders", permanent=True)

    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        audio = _ask("recording", call_id=provider_call_id)
        return Recording("audio/wav", limit_size([base64.b64decode(audio)])) if audio else None

    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        _ask("delete_recording", call_id=provider_call_id)


def _ask(method: str, **said: str) -> Any:
    where = urlsplit(os.environ[URL])
    connection = http.client.HTTPConnection(where.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"/{method}", body=json.dumps(said))
        return json.loads(connection.getresponse().read())
    except OSError as error:
        raise TelephonyError("the carrier is away", permanent=False, ambiguous=True) from error
    finally:
        connection.close()
