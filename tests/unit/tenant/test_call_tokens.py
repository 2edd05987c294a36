"""Tests of the tokens that carriers return: their content and their kinds."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from vca.conversation.llm.models import Models
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import crypto
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core.call_services import CallServices, CallState, WebSocketClaims
from vca.tenant.calls.core.call_types import CallRef

SECRET = "s" * 32
SERVICES = CallServices(SECRET, Models(ScriptedModel()))
REF = CallRef(TenantRef(UUID(int=1)), UUID(int=2))
ACCOUNT = ProviderAccountRef("twilio", UUID(int=3))
TIME = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
FULL_STATE = CallState(REF, 3, 17, ACCOUNT, TIME, "de", 99, "call", "CA1")
CLAIMS = WebSocketClaims(REF, ACCOUNT, UUID(int=4), TIME)


@pytest.mark.parametrize("state", [CallState(REF), CallState(REF, 0), FULL_STATE])
def test_a_state_survives_its_token(state: CallState) -> None:
    assert SERVICES.verify_state(SERVICES.sign_state(state)) == state


def test_claims_survive_their_token() -> None:
    assert SERVICES.verify_token(SERVICES.sign_websocket(CLAIMS)) == CLAIMS


def test_the_token_of_a_websocket_is_not_a_state() -> None:
    with pytest.raises(InvalidCarrierRequest):
        SERVICES.verify_state(SERVICES.sign_websocket(CLAIMS))


@pytest.mark.parametrize(
    "values",
    [
        (None, 0, "twilio", None, 1, None, None, "other", "CA1"),
        (None, 0, None, None, 1, None, None, "socket", UUID(int=4).hex),
        (None, 0, "twilio", None, None, None, None, "socket", UUID(int=4).hex),
    ],
)
def test_a_token_of_another_kind_is_refused(values: tuple[Any, ...]) -> None:
    ids = (REF.tenant.id.hex, REF.call_id.hex)
    token = crypto.sign(SECRET, [*ids, *values], purpose="call")

    with pytest.raises(InvalidCarrierRequest):
        SERVICES.verify_token(token)


def test_a_token_that_others_signed_is_refused() -> None:
    others = CallServices("t" * 32, Models(ScriptedModel()))

    with pytest.raises(InvalidCarrierRequest):
        SERVICES.verify_state(others.sign_state(CallState(REF)))
