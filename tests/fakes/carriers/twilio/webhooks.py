"""Twilio's webhooks, signed by the validator of its SDK."""

from typing import Any
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from vca.telephony.providers.twilio.settings import TwilioCredentials
from vca.telephony.types import CarrierRequest

FORM = "application/x-www-form-urlencoded"


def signed_request(
    login: TwilioCredentials, url: str, form: dict[str, Any], **headers: str
) -> CarrierRequest:
    """Return the request that Twilio sends for this account with this form."""
    fields = {"AccountSid": login.account_sid, "ApiVersion": "2010-04-01", **form}
    fields = {name: text for name, text in fields.items() if text is not None}
    signature = RequestValidator(login.auth_token).compute_signature(url, fields)
    return CarrierRequest(
        action=url.partition("?")[0].rpartition("/")[2],
        url=url,
        headers={"content-type": FORM, "x-twilio-signature": signature, **headers},
        body=urlencode(fields).encode(),
    )


def socket_signature(login: TwilioCredentials, url: str) -> str:
    """Return the signature with which Twilio opens a WebSocket for this account."""
    return str(RequestValidator(login.auth_token).compute_signature(url, {}))


def inbound_form(
    call_sid: str, *, to: str, caller: str, status: str = "in-progress"
) -> dict[str, Any]:
    """Return the form fields of an inbound call that do not depend on the event."""
    return {
        "CallSid": call_sid,
        "CallStatus": status,
        "Direction": "inbound",
        "From": caller,
        "To": to,
        "Caller": caller,
        "Called": to,
        "CallerCountry": "US",
        "FromCity": "Trezzo Sull'Adda",
        "StirVerstat": "TN-Validation-Passed-A",
        "CallToken": '{"parentCallInfoToken":"eyJhbGciOiJFUzI1NiJ9"}',
    }


def outbound_form(
    call_sid: str, *, to: str, caller: str, status: str = "in-progress"
) -> dict[str, Any]:
    """Return the form fields of a call that VCA placed."""
    return {
        **inbound_form(call_sid, to=to, caller=caller, status=status),
        "Direction": "outbound-api",
        "StirVerstat": None,
        "CallToken": None,
    }
