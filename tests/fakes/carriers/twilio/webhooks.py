"""Twilio's webhooks, signed by the validator of its SDK."""

import base64
import hashlib
import hmac
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

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


def sign_body(login: TwilioCredentials, request: CarrierRequest) -> CarrierRequest:
    """Return the request as Twilio signs it: the URL, then the bytes of all names and values.

    The names are sorted, and each value of a name counts once, in sorted order.
    """
    pairs = (pair.partition(b"=") for pair in request.body.split(b"&") if pair)
    fields = {
        (unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" ")))
        for name, _, value in pairs
    }
    text = request.url.encode() + b"".join(name + value for name, value in sorted(fields))
    mac = hmac.new(login.auth_token.encode(), text, hashlib.sha1)
    signature = base64.b64encode(mac.digest()).decode()
    return replace(request, headers={**request.headers, "x-twilio-signature": signature})


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
