"""Tests of the tokens that carriers return: their content and their kinds."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from vca.kit import crypto
from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState, WebSocketClaims
from vca.tenant.calls.core.call_types import CallRef

SECRET = "s" * 32


def services_with_secret(secret: str) -> Services:
    """Return all that tokens need of the services."""
    return cast(Services, SimpleNamespace(settings=SimpleNamespace(secret_key=secret)))


SERVICES = services_with_secret(SECRET)
REF = CallRef(TenantRef(UUID(int=1)), UUID(int=2))
ACCOUNT = ProviderAccountRef("twilio", UUID(int=3))
TIME = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
FULL_STATE = CallState(REF, 3, 17, ACCOUNT, TIME, "de", 99, "call", "CA1")
CLAIMS = WebSocketClaims(REF, ACCOUNT, UUID(int=4), TIME)


@pytest.mark.parametrize("state", [CallState(REF), CallState(REF, 0), FULL_STATE])
def test_a_state_survives_its_token(state: CallState) -> None:
    token = call_tokens.sign_state(state, services=SERVICES)

    assert call_tokens.verify_state(token, services=SERVICES) == state


def test_claims_survive_their_token() -> None:
    token = call_tokens.sign_websocket(CLAIMS, services=SERVICES)

    assert call_tokens.verify_token(token, services=SERVICES) == CLAIMS


def test_the_token_of_a_websocket_is_not_a_state() -> None:
    token = call_tokens.sign_websocket(CLAIMS, services=SERVICES)

    with pytest.raises(InvalidCarrierRequest):
        call_tokens.verify_state(token, services=SERVICES)


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
        call_tokens.verify_token(token, services=SERVICES)


def test_a_token_that_others_signed_is_refused() -> None:
    token = call_tokens.sign_state(CallState(REF), services=services_with_secret("t" * 32))

    with pytest.raises(InvalidCarrierRequest):
        call_tokens.verify_state(token, services=SERVICES)
