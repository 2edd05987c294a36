"""The token of a permission to dial: for one call, one number and 60 seconds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vca.telephony import dial_permit
from vca.telephony.dial_permit import DialPermit
from vca.telephony.state_signature import StateSigner

SIGNER, CALL, NUMBER = StateSigner("a-secret-of-this-test"), "v3:call", "+14155550123"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def is_valid(token: object, **changes: Any) -> bool:
    claim = {"signer": SIGNER, "number": NUMBER, "call": CALL, "now": NOW, **changes}
    return dial_permit.is_signed_for(token, **claim)


@pytest.fixture
def token() -> str:
    return dial_permit.sign(DialPermit(NUMBER), SIGNER, call=CALL, now=NOW)


def test_a_signed_permission_is_valid_for_a_minute(token: str) -> None:
    assert is_valid(token)
    assert is_valid(token, now=NOW + timedelta(seconds=59))
    assert not is_valid(token, now=NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    "changes",
    [
        {"number": "+14155550124"},
        {"call": "v3:other"},
        {"signer": StateSigner("another-secret")},
    ],
)
def test_a_signed_permission_is_bound_to_its_call_and_number(
    token: str, changes: dict[str, Any]
) -> None:
    assert not is_valid(token, **changes)


def test_every_changed_character_invalidates_it(token: str) -> None:
    for index, character in enumerate(token):
        changed = "A" if character != "A" else "B"
        assert not is_valid(token[:index] + changed + token[index + 1 :])
        assert not is_valid(token[:index])


def test_a_signature_for_another_purpose_is_no_permission() -> None:
    expires_at = int((NOW + timedelta(seconds=60)).timestamp())
    values = [NUMBER, CALL, expires_at]

    assert is_valid(f"{expires_at}.{SIGNER.sign('dial permit', values)}")
    assert not is_valid(f"{expires_at}.{SIGNER.sign('telnyx leg', values)}")


@pytest.mark.parametrize("value", [None, "", 1, [], "…", NUMBER, "9" * 5_000 + ".x", "٣.x"])
def test_anything_else_is_no_permission(value: object) -> None:
    assert not is_valid(value)
