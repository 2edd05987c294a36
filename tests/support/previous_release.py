"""What the previous release gave to carriers: states and URLs that are not signed as a whole."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import quote, unquote

from sqlalchemy import text

from tests.fakes.carriers.telnyx.accounts import STATE_SIGNER
from tests.support import admin_db
from tests.support.services import app_services
from vca.kit import crypto, json
from vca.telephony.providers.telnyx import client_state
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import ProviderAccountRef
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef

_SIGNATURE = re.compile(r"signature=[^&]*&")
_STATE = re.compile(r"(?<=state=)[^&]*")


def state_token(token: str) -> str:
    """Return a call's state token as the previous release made it: bound to no carrier's call."""
    state = call_tokens.verify_state(token, services=app_services())
    account_id = state.account.account_id if state.account else None
    values = [
        *(state.ref.tenant.id.hex, state.ref.call_id.hex, state.turns, state.spoken_chars),
        *(state.account.provider_type if state.account else None,),
        account_id.hex if account_id else None,
    ]
    return crypto.sign(app_services().settings.secret_key, values, purpose="call")


def websocket_account_token(ref: CallRef, account: ProviderAccountRef) -> str:
    """Return the end of a WebSocket's URL for a tenant's account."""
    return state_token(
        call_tokens.sign_state(
            CallState(ref, account=account, provider_call_id=None), services=app_services()
        )
    )


def encode(state: LegState) -> str:
    """Return a Telnyx state without a signature, as anybody can make it."""
    fields = {name: value for name, value in vars(state).items() if value and name != "session"}
    return base64.b64encode(json.dumps(fields)).decode()


def client_state_of(encoded_state: str | None) -> str:
    """Return a leg's state as the previous release made it."""
    state = client_state.decode_signed(encoded_state, STATE_SIGNER)
    assert state is not None
    return encode(replace(state, state=state_token(state.state) if state.state else None))


def callback_url(url: str) -> str:
    """Return a URL for Twilio as the previous release made it."""
    unsigned = _SIGNATURE.sub("", url)
    return _STATE.sub(lambda match: quote(state_token(unquote(match[0]))), unsigned)


@contextmanager
def accept_unsigned_states(*, until: str = "now() + interval '15 minutes'") -> Iterator[None]:
    """Set until when unsigned states are accepted, as an SQL expression."""
    statement = text(f"UPDATE public.deployment SET unsigned_states_until = {until}")
    with admin_db.public_session() as session:
        session.execute(statement)
    yield
    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.deployment SET unsigned_states_until = now()"))
