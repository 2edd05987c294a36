"""Parse Twilio's webhooks, which are forms, strictly, and verify their signatures."""

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from vca.kit import clock
from vca.kit.number_ranges import NumberRange
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature
from vca.telephony.caller_id import called_number, parse_caller
from vca.telephony.providers.twilio import callback_urls, statuses
from vca.telephony.providers.twilio.callback_urls import parse_query
from vca.telephony.providers.twilio.form import Form
from vca.telephony.providers.twilio.settings import TwilioCredentials
from vca.telephony.state_signature import StateSigner
from vca.telephony.types import Caller, CallEvent, CarrierEvent, CarrierEventKind, CarrierRequest

ACTIONS = frozenset({"voice", "status", "turn", "recording"})
SIGNATURE_HEADER = "x-twilio-signature"
# The parameter of browsers' calls, fixed by their access token: the number that they call.
WEBRTC_NUMBER_FIELD = "VcaNumber"
_MAX_SIGNATURE_CHARS = 100
_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)
_RECORDING_SID = re.compile(r"RE[0-9a-fA-F]{32}", re.ASCII)
_KEYS = re.compile(r"[0-9*#]{1,64}", re.ASCII)
_STATUS = re.compile(r"[a-z][a-z-]{0,31}", re.ASCII)
_CODE = re.compile(r"[0-9]{1,6}", re.ASCII)
_OUTBOUND = "outbound-api"
_IN_PROGRESS = "in-progress"
# A failed recording is fetched too, and is then known to be missing.
_FINAL_RECORDING_STATUSES = ("completed", "absent", "failed")


class WebhookForm:
    """The fields of a request. Its methods raise nothing but InvalidCarrierRequest.

    `form` was in the body; `query` is what we put into the URL.
    """

    def __init__(self, request: CarrierRequest, added_ranges: Sequence[NumberRange]) -> None:
        self._added_ranges = added_ranges
        self.form = Form(request)
        self.query = parse_query(request.url)
        self.call_sid = self.required("CallSid", _CALL_SID)

    def text(self, name: str, *, max_chars: int = 256) -> str:
        """Return a field of at most `max_chars` characters; empty if it is missing."""
        return _limit_length(name, self.form.get(name), max_chars)

    def required(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return a field that must exist and match the pattern."""
        value = self.form.get(name)
        if not pattern.fullmatch(value):
            raise InvalidCarrierRequest(f"{name} is missing or malformed")
        return value

    def optional(self, name: str, pattern: re.Pattern[str]) -> str | None:
        """Return a field that may be missing or empty and otherwise must match the pattern."""
        return self.required(name, pattern) if self.form.get(name) else None

    @property
    def state(self) -> str | None:
        """Return the state token in the URL, or None."""
        return _limit_length("state", self.query.get("state", ""), 2_000) or None

    @property
    def own_number(self) -> str:
        """Return our number in the call."""
        return self.text("From") if self.text("Direction") == _OUTBOUND else self.called_number

    @property
    def called_number(self) -> str:
        """Return the number that was called; calls to a SIP domain have it in a URI."""
        return self.text(WEBRTC_NUMBER_FIELD) or called_number(self.text("To"), self._added_ranges)

    @property
    def caller(self) -> Caller:
        """Return the caller; an unreadable one is no reason to reject the call."""
        try:
            return parse_caller(self.form.get("From"), self._added_ranges)
        except InvalidCarrierRequest:
            return Caller(None, "other")


def parse_webhook(
    request: CarrierRequest, signer: StateSigner, added_ranges: Sequence[NumberRange]
) -> CarrierEvent:
    """Return the event of a request. Raises InvalidCarrierRequest.

    A URL that we have not signed as it is has no state.
    """
    form = WebhookForm(request, added_ranges)
    carrier_event = _parse_action(request, form)
    if carrier_event.state is None or callback_urls.is_signed(request.action, form.query, signer):
        return carrier_event
    return replace(carrier_event, state=None, unsigned=carrier_event)


def _parse_action(request: CarrierRequest, form: WebhookForm) -> CarrierEvent:
    match request.action:
        case "voice":
            is_outbound = form.text("Direction") == _OUTBOUND
            return _carrier_event(form, "answered" if is_outbound else "call")
        case "turn":
            return _turn_event(form)
        case "recording":
            return _recording_event(form)
        case "status":
            return _carrier_event(
                form, "status", event=_status_event(form, form.required("CallStatus", _STATUS))
            )
    raise InvalidCarrierRequest("unknown action")


def verify(request: CarrierRequest, credentials: Iterable[TwilioCredentials]) -> None:
    """Check that one of the tokens in `credentials` signed the request for its account.

    Raises InvalidCarrierSignature. Twilio signs no timestamp, so a signature stays valid forever.
    """
    signature = request.headers.get(SIGNATURE_HEADER, "")
    if not 0 < len(signature) <= _MAX_SIGNATURE_CHARS:
        raise InvalidCarrierSignature("the signature is missing")
    try:
        form = Form(request)
        account = form.get("AccountSid").encode()
    except InvalidCarrierRequest:
        raise InvalidCarrierSignature("the signed body is not a form of one account") from None
    for candidate in credentials:
        if hmac.compare_digest(account, candidate.account_sid.encode()) and form.is_signed(
            url=request.url, auth_token=candidate.auth_token, signature=signature
        ):
            return
    raise InvalidCarrierSignature("the signature does not match")


def verify_websocket(request: CarrierRequest, credentials: Iterable[TwilioCredentials]) -> None:
    """Check that one of the tokens in `credentials` signed the URL of a WebSocket.

    Raises InvalidCarrierSignature. Twilio is known to append a slash to such a URL before signing
    it.
    """
    from twilio.request_validator import RequestValidator

    signature = request.headers.get(SIGNATURE_HEADER, "")
    if not 0 < len(signature) <= _MAX_SIGNATURE_CHARS:
        raise InvalidCarrierSignature("the signature is missing")
    for candidate in credentials:
        validator = RequestValidator(candidate.auth_token)
        if any(validator.validate(f"{request.url}{suffix}", {}, signature) for suffix in ("", "/")):
            return
    raise InvalidCarrierSignature("the signature does not match")


def _turn_event(form: WebhookForm) -> CarrierEvent:
    """Return the event of the verb that has ended. The URL names it: an empty form is ambiguous."""
    match form.query.get("verb"):
        case "gather":
            return _gather_event(form)
        case "redirect":
            return _carrier_event(form, "more")
        case "connect":
            return _connect_event(form)
        case "dial":
            return _carrier_event(
                form, "leg", leg=statuses.leg_outcome(form.required("DialCallStatus", _STATUS))
            )
        case "record":
            recording_sid = form.optional("RecordingSid", _RECORDING_SID)
            return _carrier_event(form, "voicemail", recording_id=recording_sid)
    raise InvalidCarrierRequest("unknown verb")


def _gather_event(form: WebhookForm) -> CarrierEvent:
    """Return keys or speech. If both are empty, the caller was silent."""
    keys = form.optional("Digits", _KEYS)
    if keys:
        return _carrier_event(form, "keys", keys=keys)
    return _carrier_event(form, "speech", speech=form.text("SpeechResult", max_chars=10_000))


def _connect_event(form: WebhookForm) -> CarrierEvent:
    """Return the end of the WebSocket. The call may have ended with it."""
    if form.required("CallStatus", _STATUS) != _IN_PROGRESS:
        return _carrier_event(form, "progress")
    return _carrier_event(form, "relayed", handoff=form.text("HandoffData"))


def _recording_event(form: WebhookForm) -> CarrierEvent:
    recording_sid = form.required("RecordingSid", _RECORDING_SID)
    status = form.required("RecordingStatus", _STATUS)
    if status in _FINAL_RECORDING_STATUSES:
        return _carrier_event(form, "recording", recording_id=recording_sid)
    return _carrier_event(form, "status", event=_status_event(form, f"recording-{status}"))


def _carrier_event(form: WebhookForm, kind: CarrierEventKind, **details: object) -> CarrierEvent:
    return CarrierEvent(
        kind,
        form.call_sid,
        called_number=form.called_number,
        caller=form.caller,
        state=form.state,
        own_number=form.own_number,
        **details,  # type: ignore[arg-type] # fields of CarrierEvent, set in this module
    )


def _status_event(form: WebhookForm, status: str) -> CallEvent:
    code = form.optional("ErrorCode", _CODE)
    sip_code = form.optional("SipResponseCode", _CODE)
    detail = code or (f"SIP {sip_code}" if sip_code else None)
    return statuses.call_event(
        status, form.call_sid, timestamp=_parse_time(form.text("Timestamp")), detail=detail
    )


def _parse_time(text: str) -> datetime:
    """Return a timestamp in the format of e-mail.

    An unreadable one counts as now, because the end of a call matters more than its exact time.
    """
    try:
        timestamp = parsedate_to_datetime(text)
    except ValueError:
        return clock.now()
    if timestamp.tzinfo is None or not 1970 <= timestamp.year <= 9000:
        return clock.now()
    return timestamp.astimezone(UTC)


def _limit_length(name: str, text: str, max_chars: int) -> str:
    if len(text) > max_chars:
        raise InvalidCarrierRequest(f"{name} is longer than {max_chars} characters")
    return text
