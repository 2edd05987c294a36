"""What calls need besides the database: the signing secret, models and the public URL."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from vca.conversation.engine import NO_LIMITS
from vca.conversation.llm.models import Models
from vca.conversation.types import Limits
from vca.kit import crypto
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core.call_types import CallRef

_PURPOSE = "call"
# Tenant, call, turns and spoken characters. The other values of a token are optional.
_REQUIRED_VALUES = 4


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
    """

    ref: CallRef
    turns: int | None = None
    spoken_chars: int = 0
    account: ProviderAccountRef | None = None
    polling_since: datetime | None = None
    language: str | None = None
    spoken_checksum: int | None = None


@dataclass(frozen=True)
class CallServices:
    """Objects and settings that all calls of a process share.

    `limits` apply to every call. With `production`, scripted models do not answer real callers.
    `relay_slots` is how many calls may use voice WebSockets at once, over all processes. VCA writes
    static fallback documents to `fallback_folder` whenever they change; empty means never.
    """

    secret: str
    models: Models
    public_base_url: str = ""
    limits: Limits = NO_LIMITS
    production: bool = False
    relay_slots: int = 0
    fallback_folder: str = ""

    def callback_url(self, carrier_name: str) -> str:
        """Return the base URL of a carrier's requests; the action follows it."""
        return f"{self.public_base_url}/telephony/{carrier_name}/"

    def can_answer(self, *, simulated: bool) -> bool:
        """Return whether a model may answer.

        In production, scripted models only answer simulations.
        """
        production_call = self.production and not simulated
        return self.models.primary.for_real_callers or not production_call

    def sign_state(
        self,
        ref: CallRef,
        account: ProviderAccountRef | None = None,
        *,
        turns: int | None = None,
        spoken_chars: int = 0,
        language: str | None = None,
    ) -> str:
        """Return a token that identifies the call to us. Carriers can read it but not forge it.

        With `account`, the token itself says which account must sign the requests that return it.
        """
        return self.sign_full_state(CallState(ref, turns, spoken_chars, account, language=language))

    def sign_full_state(self, state: CallState) -> str:
        """Return a token with all fields of a call state."""
        ref, account, polling_since = state.ref, state.account, state.polling_since
        values: list[Any] = [
            ref.tenant.id.hex,
            ref.call_id.hex,
            state.turns,
            state.spoken_chars,
            account.provider_type if account else None,
            _hex(account.account_id) if account else None,
            round(polling_since.timestamp(), 1) if polling_since else None,
            state.language,
            state.spoken_checksum,
        ]
        while values[-1] is None and len(values) > _REQUIRED_VALUES:  # the token is part of URLs
            values.pop()
        return crypto.sign(self.secret, values, purpose=_PURPOSE)

    def verify_state(self, token: str) -> CallState:
        """Return the state in a token; raise InvalidCarrierRequest if the token is not valid."""
        try:
            values = crypto.unsign(self.secret, token, purpose=_PURPOSE)
            tenant_id, call_id, turns, spoken_chars, *optional_values = values
        except (crypto.BadSignature, ValueError):
            raise InvalidCarrierRequest("the state token is not valid") from None
        ref = CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))
        provider_type, account_id, polling_since, language, spoken_checksum = [
            *optional_values,
            *[None] * 5,
        ][:5]
        return CallState(
            ref,
            turns,
            spoken_chars,
            _parse_account(provider_type, account_id),
            _parse_timestamp(polling_since),
            language,
            spoken_checksum,
        )


def _hex(account_id: UUID | None) -> str | None:
    return account_id.hex if account_id is not None else None


def _parse_account(provider_type: str | None, account_id: str | None) -> ProviderAccountRef | None:
    if provider_type is None:
        return None
    return ProviderAccountRef(provider_type, UUID(account_id) if account_id else None)


def _parse_timestamp(unix_seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds is not None else None


_current: CallServices | None = None


def set_current_services(services: CallServices) -> CallServices:
    """Set the services of this process and return them."""
    global _current
    _current = services
    return services


def current_services() -> CallServices:
    """Return the services of this process; raise RuntimeError if none are set."""
    if _current is None:
        raise RuntimeError("no call services are configured in this process")
    return _current
