"""Twilio's webhooks: forms, read strictly, and the signature over them."""

import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

from vca.kit import clock, json
from vca.telephony.adapter import BadCarrierRequest, SignatureRefused
from vca.telephony.callers import read_caller
from vca.telephony.providers.twilio import statuses
from vca.telephony.providers.twilio.settings import Login
from vca.telephony.providers.twilio.urls import query_of
from vca.telephony.types import CallEvent, CarrierFacts, CarrierRequest, FactKind

ACTIONS = frozenset({"voice", "status", "turn", "recording"})
SIGNATURE = "x-twilio-signature"
# A parameter of browsers' calls, sealed into their access token: the number that they call.
BROWSER_NUMBER = "VcaNumber"
_FORM = "application/x-www-form-urlencoded"
_LARGEST, _MOST_FIELDS = 64 * 1024, 200
_LONGEST_SIGNATURE = 100
_CALL = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)
_RECORDING = re.compile(r"RE[0-9a-fA-F]{32}", re.ASCII)
_KEYS = re.compile(r"[0-9*#]{1,64}", re.ASCII)
_STATUS = re.compile(r"[a-z][a-z-]{0,31}", re.ASCII)
_CODE = re.compile(r"[0-9]{1,6}", re.ASCII)
_OUTBOUND = "outbound-api"
_LIVE = "in-progress"
# A recording that came to nothing is asked for too, and then known to be missing.
_RECORDING_ENDS = ("completed", "absent", "failed")


class _Signed(dict[str, str]):
    """Fields in a shape that the SDK need not find out about by what it raises."""

    def getall(self, name: str) -> list[str]:
        """The values of a field: one."""
        return [self[name]]


class Form:
    """What a request says, field by field; whatever is asked of it raises BadCarrierRequest only.

    `said` is what was in the body, `given` what we had put into the URL.
    """

    def __init__(self, request: CarrierRequest) -> None:
        self.said = fields(request)
        self.given = query_of(request.url)
        self.call_sid = self.matching("CallSid", _CALL)

    def text(self, name: str, *, longest: int = 256) -> str:
        """A field of at most so many characters; empty when it is not there."""
        return _bounded(name, self.said.get(name, ""), longest)

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """A field that must be there, and look so."""
        text = self.said.get(name, "")
        if not pattern.fullmatch(text):
            raise BadCarrierRequest(f"{name} is missing or not what it should be")
        return text

    def optional(self, name: str, pattern: re.Pattern[str]) -> str | None:
        """A field that may be missing or empty, and otherwise looks so."""
        return self.matching(name, pattern) if self.said.get(name) else None

    @property
    def state(self) -> str | None:
        """The token that we gave."""
        return _bounded("state", self.given.get("state", ""), 2_000) or None

    @property
    def own_number(self) -> str:
        """The number of ours at this end."""
        if self.text("Direction") == _OUTBOUND:
            return self.text("From")
        return self.text(BROWSER_NUMBER) or self.text("To")


def read(request: CarrierRequest) -> CarrierFacts:
    """What a request tells; raises BadCarrierRequest."""
    form = Form(request)
    match request.action:
        case "voice":
            placed = form.text("Direction") == _OUTBOUND
            return _facts(form, "answered" if placed else "call")
        case "turn":
            return _turn(form)
        case "recording":
            return _recording(form)
        case "status":
            return _facts(form, "status", event=_event(form, form.matching("CallStatus", _STATUS)))
    raise BadCarrierRequest("no such action")


def fields(request: CarrierRequest) -> dict[str, str]:
    """The fields of a form; raises BadCarrierRequest for what is none, or says a thing twice."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise BadCarrierRequest("not a form")
    if not 0 < len(request.body) <= _LARGEST:
        raise BadCarrierRequest("empty or too large")
    try:
        said = parse_qsl(
            request.body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise BadCarrierRequest("not a form of UTF-8") from None
    found = dict(said)
    if len(found) != len(said):
        raise BadCarrierRequest("a field is there twice")
    if not all(json.storable(text) for text in found.values()):
        raise BadCarrierRequest("a field holds what no text does")
    return found


def verify(request: CarrierRequest, logins: Iterable[Login]) -> None:
    """Check that one of the logins' tokens signed the request for its account.

    Raises SignatureRefused. Twilio signs no time: what it signed once stays genuine.
    """
    from twilio.request_validator import RequestValidator

    signature = request.headers.get(SIGNATURE, "")
    if not 0 < len(signature) <= _LONGEST_SIGNATURE:
        raise SignatureRefused("there is no signature")
    try:
        said = _Signed(fields(request))
    except BadCarrierRequest:
        raise SignatureRefused("what is signed is not a form") from None
    for login in logins:
        if _is_of(said, login) and RequestValidator(login.auth_token).validate(
            request.url, said, signature
        ):
            return
    raise SignatureRefused("the signature does not match")


def verify_socket(request: CarrierRequest, logins: Iterable[Login]) -> None:
    """Check that one of the logins' tokens signed the URL of a socket.

    Raises SignatureRefused. Twilio is known to end such a URL with a slash before it signs it.
    """
    from twilio.request_validator import RequestValidator

    signature = request.headers.get(SIGNATURE, "")
    if not 0 < len(signature) <= _LONGEST_SIGNATURE:
        raise SignatureRefused("there is no signature")
    for login in logins:
        validator = RequestValidator(login.auth_token)
        if any(validator.validate(f"{request.url}{end}", {}, signature) for end in ("", "/")):
            return
    raise SignatureRefused("the signature does not match")


def _is_of(said: Mapping[str, str], login: Login) -> bool:
    account = said.get("AccountSid", "").encode()
    return hmac.compare_digest(account, login.account_sid.encode())


def _turn(form: Form) -> CarrierFacts:
    """The verb that has come to its end is named in the URL: an empty form may be several."""
    match form.given.get("verb"):
        case "gather":
            return _heard(form)
        case "redirect":
            return _facts(form, "more")
        case "connect":
            return _relayed(form)
        case "dial":
            return _facts(form, "leg", leg=statuses.leg(form.matching("DialCallStatus", _STATUS)))
        case "record":
            recording = form.optional("RecordingSid", _RECORDING)
            return _facts(form, "voicemail", recording_id=recording)
    raise BadCarrierRequest("no such verb")


def _heard(form: Form) -> CarrierFacts:
    """Keys or words; neither is silence."""
    keys = form.optional("Digits", _KEYS)
    if keys:
        return _facts(form, "keys", keys=keys)
    return _facts(form, "speech", speech=form.text("SpeechResult", longest=10_000))


def _relayed(form: Form) -> CarrierFacts:
    """The socket has ended; the call may have ended with it."""
    if form.matching("CallStatus", _STATUS) != _LIVE:
        return _facts(form, "progress")
    return _facts(form, "relayed", handoff=form.text("HandoffData"))


def _recording(form: Form) -> CarrierFacts:
    recording = form.matching("RecordingSid", _RECORDING)
    status = form.matching("RecordingStatus", _STATUS)
    if status in _RECORDING_ENDS:
        return _facts(form, "recording", recording_id=recording)
    return _facts(form, "status", event=_event(form, f"recording-{status}"))


def _facts(form: Form, kind: FactKind, **told: object) -> CarrierFacts:
    return CarrierFacts(
        kind,
        form.call_sid,
        called_number=form.text(BROWSER_NUMBER) or form.text("To"),
        caller=read_caller(form.text("From")),
        state=form.state,
        own_number=form.own_number,
        **told,  # type: ignore[arg-type] # fields of the facts, written a few lines above
    )


def _event(form: Form, status: str) -> CallEvent:
    code = form.optional("ErrorCode", _CODE)
    sip = form.optional("SipResponseCode", _CODE)
    detail = code or (f"SIP {sip}" if sip else None)
    return statuses.event(status, form.call_sid, at=_moment(form.text("Timestamp")), detail=detail)


def _moment(text: str) -> datetime:
    """A time as mail has it. One that cannot be read is now: the end of a call counts for more."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return clock.now()
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        return clock.now()
    return moment.astimezone(UTC)


def _bounded(name: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise BadCarrierRequest(f"{name} is longer than {longest} characters")
    return text
