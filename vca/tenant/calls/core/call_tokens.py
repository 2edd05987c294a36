"""The signed tokens that carriers return: the state of a call, and the claims of a WebSocket."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from vca.kit import crypto
from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import CarrierEvent, CarrierEventKind, ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core.call_types import CallRef

_PURPOSE = "call"
# Tenant, call, turns and spoken characters. The other values of a token are optional.
_REQUIRED_VALUES = 4
_VALUES = 11
# What a token is for. It is one of its values and not the purpose of the signature, because the
# previous release reads the tokens of both kinds, and ignores values that it does not know.
TokenKind = Literal["call", "socket"]
# The events that a call can have before it has been answered.
KINDS_OF_PLACED_CALL: tuple[CarrierEventKind, ...] = ("answered", "status", "progress")


@dataclass(frozen=True)
class CallState:
    """The state of a call that a carrier returns with its next request.

    - `turns`: the number of stored turns at the time of the last response to the carrier.
    - `spoken_chars`: the number of characters of the stored, redacted reply to the last turn that
      the carrier has received.
    - `account`: the call's provider account. None: the call's row has it.
    - `polling_since`: the time of the first response that asked the carrier to poll for the rest.
    - `language`: the language of the call, for an apology while the database is away.
    - `spoken_checksum`: the CRC-32 of those characters. None: there are none, or an older version,
      which counted them before redaction, made the token.
    - `kind`: None if the previous release made the token, which bound it to no call of the carrier.
    - `provider_call_id`: the carrier's id of the call. None: it was not known yet, because the
      token was made to place the call.
    """

    ref: CallRef
    turns: int | None = None
    spoken_chars: int = 0
    account: ProviderAccountRef | None = None
    polling_since: datetime | None = None
    language: str | None = None
    spoken_checksum: int | None = None
    kind: TokenKind | None = "call"
    provider_call_id: str | None = None

    def belongs_to(self, carrier_event: CarrierEvent) -> bool:
        """Return whether we made the state for the call of this event.

        The state of a call that we place is all that its first events have. Whether they are the
        call's own is decided by its row.
        """
        if self.kind is None:
            return False
        if self.provider_call_id is None:
            return carrier_event.kind in KINDS_OF_PLACED_CALL
        return self.provider_call_id == carrier_event.provider_call_id


@dataclass(frozen=True)
class WebSocketClaims:
    """The content of the token at the end of a voice WebSocket's URL."""

    ref: CallRef
    account: ProviderAccountRef
    slot: UUID
    expires_at: datetime


def sign_state(state: CallState, *, services: Services) -> str:
    """Return a token with a call's state. Carriers can read it but not forge it.

    With `account`, the token itself says which account must sign the requests that return it.
    Only requests about the call with this carrier's id may return it. None: the call is about
    to be placed.
    """
    account, polling_since = state.account, state.polling_since
    values = (
        state.turns,
        state.spoken_chars,
        account.provider_type if account else None,
        _hex(account.account_id) if account else None,
        round(polling_since.timestamp(), 1) if polling_since else None,
        state.language,
        state.spoken_checksum,
        state.kind,
        state.provider_call_id,
    )
    return _sign(state.ref, *values, services=services)


def sign_websocket(claims: WebSocketClaims, *, services: Services) -> str:
    """Return the token for the URL of a voice WebSocket."""
    account, expires_at = claims.account, round(claims.expires_at.timestamp())
    account_values = (account.provider_type, _hex(account.account_id))
    kind: TokenKind = "socket"
    values = (None, 0, *account_values, expires_at, None, None, kind, claims.slot.hex)
    return _sign(claims.ref, *values, services=services)


def verify_state(token: str, *, services: Services) -> CallState:
    """Return the state in a token; raise InvalidCarrierRequest if the token is not valid.

    The caller must check that it belongs to the call of the request: see `belongs_to`.
    """
    content = verify_token(token, services=services)
    if not isinstance(content, CallState):
        raise InvalidCarrierRequest("the token is not a state token")
    return content


def verify_token(token: str, *, services: Services) -> CallState | WebSocketClaims:
    """Return the content of a token of either kind; the claims may have expired.

    Raises InvalidCarrierRequest.
    """
    (
        ref,
        turns,
        spoken_chars,
        provider_type,
        account_id,
        timestamp,
        language,
        spoken_checksum,
        kind,
        subject,
    ) = _verify(token, services=services)
    account, time = _parse_account(provider_type, account_id), _parse_timestamp(timestamp)
    if kind == "socket" and account is not None and time is not None:
        return WebSocketClaims(ref, account, UUID(subject), time)
    if kind not in (None, "call"):
        raise InvalidCarrierRequest("the token is of an unknown kind")
    return CallState(
        ref, turns, spoken_chars, account, time, language, spoken_checksum, kind, subject
    )


def _sign(ref: CallRef, *optional_values: Any, services: Services) -> str:
    values: list[Any] = [ref.tenant.id.hex, ref.call_id.hex, *optional_values]
    while values[-1] is None and len(values) > _REQUIRED_VALUES:  # the token is part of URLs
        values.pop()
    return crypto.sign(services.settings.secret_key, values, purpose=_PURPOSE)


def _verify(token: str, *, services: Services) -> tuple[Any, ...]:
    """Return the call and the other values of a token, with None for those that it lacks."""
    try:
        values = crypto.unsign(services.settings.secret_key, token, purpose=_PURPOSE)
        tenant_id, call_id, *other_values = values
    except (crypto.BadSignature, ValueError):
        raise InvalidCarrierRequest("the state token is not valid") from None
    padding = [None] * (_VALUES - len(values))
    ref = CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))
    return ref, *[*other_values, *padding][: _VALUES - 2]


def _hex(account_id: UUID | None) -> str | None:
    return account_id.hex if account_id is not None else None


def _parse_account(provider_type: str | None, account_id: str | None) -> ProviderAccountRef | None:
    if provider_type is None:
        return None
    return ProviderAccountRef(provider_type, UUID(account_id) if account_id else None)


def _parse_timestamp(unix_seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds is not None else None
