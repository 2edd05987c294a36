"""What answering calls needs beside the database: our seal, the models, our public address."""

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


@dataclass(frozen=True)
class CallState:
    """A call, and how far it was when its carrier was answered: the turns on record, and how many
    characters of the answer to the last one had been said by then.

    `carrier` is who holds the call; None: its row knows. `since`: when its carrier was first told
    to come back for that answer.
    """

    ref: CallRef
    turns: int | None = None
    spoken_chars: int = 0
    carrier: ProviderAccountRef | None = None
    polling_since: datetime | None = None


@dataclass(frozen=True)
class CallServices:
    """One for each process. `limits` bound every call; `production` keeps callers from scripts.

    `relay_slots` calls may speak through sockets at once, over all processes.
    """

    secret: str
    models: Models
    public_base_url: str = ""
    limits: Limits = NO_LIMITS
    production: bool = False
    relay_slots: int = 0

    def callback_url(self, carrier_name: str) -> str:
        """Where a carrier's requests go, up to the action."""
        return f"{self.public_base_url}/telephony/{carrier_name}/"

    def can_answer(self, *, simulated: bool) -> bool:
        """Whether there is a model for a caller: in production the script is none for real ones."""
        production_call = self.production and not simulated
        return self.models.primary.for_real_callers or not production_call

    def sign_state(
        self,
        ref: CallRef,
        carrier: ProviderAccountRef | None = None,
        *,
        turns: int | None = None,
        spoken_chars: int = 0,
    ) -> str:
        """The call as a token that a carrier may carry: readable, not forgeable.

        With who holds the call, it says by itself who must sign what comes back with it.
        """
        return self.sign_full_state(CallState(ref, turns, spoken_chars, carrier))

    def sign_full_state(self, state: CallState) -> str:
        """The same of all that is known."""
        ref, carrier, polling_since = state.ref, state.carrier, state.polling_since
        values: list[Any] = [ref.tenant.id.hex, ref.call_id.hex, state.turns, state.spoken_chars]
        if carrier is not None or polling_since is not None:
            account_values = (
                (carrier.provider_type, _hex(carrier.account_id)) if carrier else (None, None)
            )
            values += account_values
        if polling_since is not None:
            values.append(round(polling_since.timestamp(), 1))
        return crypto.sign(self.secret, values, purpose=_PURPOSE)

    def verify_state(self, token: str) -> CallState:
        """What `seal` sealed; raises BadCarrierRequest for anything else."""
        try:
            values = crypto.unsign(self.secret, token, purpose=_PURPOSE)
            tenant_id, call_id, turns, spoken_chars, *optional_values = values
        except (crypto.BadSignature, ValueError):
            raise InvalidCarrierRequest("the state is not ours") from None
        ref = CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))
        provider_type, account_id, polling_since = [*optional_values, None, None, None][:3]
        return CallState(
            ref,
            turns,
            spoken_chars,
            _parse_account(provider_type, account_id),
            _parse_timestamp(polling_since),
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
    """Make this the process's own; returns it."""
    global _current
    _current = services
    return services


def current_services() -> CallServices:
    """The process's desk; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no desk is configured in this process")
    return _current
