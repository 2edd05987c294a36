"""Adapters of accounts with the server on loopback, and what their events look like."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.carriers.telnyx.calls import CONNECTION, Leg, told
from tests.carriers.telnyx.server import KEY, TelnyxServer
from tests.carriers.telnyx.signing import Signer
from vca.settings import Settings
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState

BASE_URL = "https://voice.example.com/vca"
NUMBER, CALLER = "+14155550100", "+14155550123"
OTHER_NUMBERS = ("+14155550199", "+14155550188")


def settings(server: TelnyxServer, signer: Signer, **changed: Any) -> Settings:
    """Settings of a deployment with an account at the server."""
    given = {
        "database_url": "postgresql://localhost/nowhere",
        "app_env": "development",
        "app_name": "VCA",
        "debug": False,
        "secret_key": "a-secret-of-this-test-alone-and-no-other",
        "public_base_url": BASE_URL,
        "telnyx_api_key": KEY,
        "telnyx_public_key": signer.public_key,
        "telnyx_connection_id": CONNECTION,
        "telnyx_api_base_url": server.url,
    }
    return Settings(**{**given, **changed})


def adapter_of(server: TelnyxServer, signer: Signer, **changed: Any) -> TelnyxAdapter:
    """The deployment's own adapter."""
    adapter = TelnyxAdapter.from_settings(settings(server, signer, **changed))
    assert adapter is not None
    return adapter


@contextmanager
def fresh(server: TelnyxServer) -> Iterator[TelnyxServer]:
    """The server with a new account; fails if it was asked or answered what does not fit."""
    server.reset()
    for number in (NUMBER, *OTHER_NUMBERS):
        server.account.own(number, "front desk")
    yield server
    assert server.faults == []


def event(
    event_type: str,
    *,
    call_id: str = "v3:call-of-a-test",
    mark: LegState | None = None,
    connection_id: str = CONNECTION,
    to: str = NUMBER,
    from_: str = CALLER,
    **said: Any,
) -> dict[str, Any]:
    """An event of a leg that carries this mark."""
    leg = Leg(call_id, to, from_, connection_id=connection_id)
    leg.client_state = mark.encode() if mark else None
    return told(leg, event_type, **said)
