"""Adapters for accounts at the fake Telnyx server, and events of legs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.fakes.carriers.telnyx.calls import CONNECTION_ID, Leg, build_event
from tests.fakes.carriers.telnyx.server import API_KEY, TelnyxServer
from tests.fakes.carriers.telnyx.signing import Signer
from vca.settings import Settings
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.state_signature import StateSigner

BASE_URL = "https://voice.example.com/vca"
# The secret of the test suite's app, so that both sign states alike.
SECRET_KEY = "a-secret-of-the-test-suite-and-no-other"
STATE_SIGNER = StateSigner(SECRET_KEY)
NUMBER, CALLER = "+14155550100", "+14155550123"
OTHER_NUMBERS = ("+14155550199", "+14155550188")


def telnyx_settings(server: TelnyxServer, signer: Signer, **overrides: Any) -> Settings:
    """Return the settings of a deployment with an account at the server."""
    defaults = {
        "database_url": "postgresql://localhost/nowhere",
        "app_env": "development",
        "app_name": "VCA",
        "debug": False,
        "secret_key": SECRET_KEY,
        "public_base_url": BASE_URL,
        "telnyx_api_key": API_KEY,
        "telnyx_public_key": signer.public_key,
        "telnyx_connection_id": CONNECTION_ID,
        "telnyx_api_base_url": server.url,
    }
    return Settings(**{**defaults, **overrides})


def create_adapter(server: TelnyxServer, signer: Signer, **overrides: Any) -> TelnyxAdapter:
    """Return the deployment's adapter."""
    adapter = TelnyxAdapter.from_settings(telnyx_settings(server, signer, **overrides))
    assert adapter is not None
    return adapter


@contextmanager
def new_account(server: TelnyxServer) -> Iterator[TelnyxServer]:
    """Reset the server to a new account; fail if a request or response violated a schema."""
    server.reset()
    for number in (NUMBER, *OTHER_NUMBERS):
        server.account.add_number(number, "front desk")
    yield server
    assert server.schema_errors == []


def leg_event(
    event_type: str,
    *,
    call_id: str = "v3:call-of-a-test",
    mark: LegState | None = None,
    connection_id: str = CONNECTION_ID,
    to: str = NUMBER,
    from_: str = CALLER,
    **payload: Any,
) -> dict[str, Any]:
    """Return an event of a leg with this client state."""
    leg = Leg(call_id, to, from_, connection_id=connection_id)
    if mark is not None:
        leg.client_state = replace(mark, session=leg.session_id).encode(STATE_SIGNER)
    return build_event(leg, event_type, **payload)
