"""The fake Twilio rejects and reports requests that Twilio's OpenAPI document does not describe."""

from typing import Any

import pytest

from tests.fakes.carriers.twilio import twiml
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from vca.telephony.adapter import TelephonyError

ACCOUNT = f"/2010-04-01/Accounts/{ACCOUNT_LOGIN.account_sid}"
CALL = f"{ACCOUNT}/Calls/CA{1:032x}.json"


@pytest.mark.parametrize(
    ("method", "path", "fields", "complaint"),
    [
        ("POST", f"{ACCOUNT}/Calls.json", {"To": "+1", "From": "+2", "Colour": "red"}, "Colour"),
        ("POST", f"{ACCOUNT}/Calls.json", {"To": "+14155550123"}, "From"),
        ("POST", CALL, {"Status": "exploded"}, "exploded"),
        ("GET", f"{ACCOUNT}/Calls.json", {"Reference": "x"}, "Reference"),
        ("GET", f"{ACCOUNT}/Calls.json", {"PageSize": "many"}, "many"),
        ("POST", f"{ACCOUNT}/IncomingPhoneNumbers/PN1.json", {}, "PN1"),
        ("GET", f"{ACCOUNT}/Conferences.json", {}, "Path"),
    ],
)
def test_a_request_that_twilio_does_not_describe_is_rejected(
    method: str, path: str, fields: dict[str, str], complaint: str
) -> None:
    with connected_twilio() as twilio:
        with pytest.raises(TelephonyError):
            _send(twilio, method, path, **{"params" if method == "GET" else "data": fields})

        assert complaint in " ".join(twilio.server.complaints)
        twilio.server.complaints.clear()


def _send(twilio: ConnectedTwilio, method: str, path: str, **arguments: Any) -> None:
    login = (ACCOUNT_LOGIN.account_sid, ACCOUNT_LOGIN.auth_token)
    with twilio.adapter._open_session() as session:
        session.request(method, session.client.api.absolute_url(path), auth=login, **arguments)


def test_a_response_that_twilio_does_not_describe_is_reported() -> None:
    with connected_twilio() as twilio:
        twilio.account.set_call(f"CA{1:032x}", "asleep")

        twilio.adapter.find_call_status(f"CA{1:032x}")

        assert "asleep" in " ".join(twilio.server.complaints)
        twilio.server.complaints.clear()


@pytest.mark.parametrize(
    "document",
    [
        b"<Response><Say>Hi</Response>",
        b"<Reply/>",
        b"<Response><Sing>Hi</Sing></Response>",
        b'<Response><Say tone="low">Hi</Say></Response>',
        b"<Response><Gather><Hangup/></Gather></Response>",
        b"<Response><Say>" + b"x" * 64_000 + b"</Say></Response>",
        b"<Response><Say>\x01</Say></Response>",
    ],
)
def test_invalid_twiml_is_rejected(document: bytes) -> None:
    with pytest.raises((AssertionError, KeyError, SyntaxError)):
        twiml.parse_twiml(document)
