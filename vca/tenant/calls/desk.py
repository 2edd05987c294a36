"""What answering calls needs beside the database: our seal, the models, our public address."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from vca.conversation.engine import NO_LIMITS
from vca.conversation.llm.models import Models
from vca.conversation.types import Limits
from vca.kit import crypto
from vca.telephony.adapter import BadCarrierRequest
from vca.telephony.types import CarrierRef
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.refs import CallRef

_PURPOSE = "call"


@dataclass(frozen=True)
class Sealed:
    """A call, and how far it was when its carrier was answered: the turns on record, and how many
    characters of the answer to the last one had been said by then.

    `carrier` is who holds the call; None: its row knows. `since`: when its carrier was first told
    to come back for that answer.
    """

    ref: CallRef
    turns: int | None = None
    said: int = 0
    carrier: CarrierRef | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Desk:
    """One for each process. `limits` bound every call; `production` keeps callers from scripts.

    `relay_slots` calls may speak through sockets at once, over all processes.
    """

    secret: str
    models: Models
    public_base_url: str = ""
    limits: Limits = NO_LIMITS
    production: bool = False
    relay_slots: int = 0

    def callback_url(self, carrier: str) -> str:
        """Where a carrier's requests go, up to the action."""
        return f"{self.public_base_url}/telephony/{carrier}/"

    def may_answer(self, *, simulated: bool) -> bool:
        """Whether there is a model for a caller: in production the script is none for real ones."""
        real = self.production and not simulated
        return self.models.primary.for_real_callers or not real

    def seal(
        self,
        ref: CallRef,
        carrier: CarrierRef | None = None,
        *,
        turns: int | None = None,
        said: int = 0,
    ) -> str:
        """The call as a token that a carrier may carry: readable, not forgeable.

        With who holds the call, it says by itself who must sign what comes back with it.
        """
        return self.sealed(Sealed(ref, turns, said, carrier))

    def sealed(self, kept: Sealed) -> str:
        """The same of all that is known."""
        ref, carrier, since = kept.ref, kept.carrier, kept.since
        values: list[Any] = [ref.tenant.id.hex, ref.call_id.hex, kept.turns, kept.said]
        if carrier is not None or since is not None:
            held = (carrier.provider_type, _hex(carrier.account_id)) if carrier else (None, None)
            values += held
        if since is not None:
            values.append(round(since.timestamp(), 1))
        return crypto.sign(self.secret, values, purpose=_PURPOSE)

    def unseal(self, state: str) -> Sealed:
        """What `seal` sealed; raises BadCarrierRequest for anything else."""
        try:
            kept = crypto.unsign(self.secret, state, purpose=_PURPOSE)
            tenant_id, call_id, turns, said, *more = kept
        except (crypto.BadSignature, ValueError):
            raise BadCarrierRequest("the state is not ours") from None
        ref = CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))
        provider_type, account_id, since = [*more, None, None, None][:3]
        return Sealed(ref, turns, said, _held(provider_type, account_id), _at(since))


def _hex(account_id: UUID | None) -> str | None:
    return account_id.hex if account_id is not None else None


def _held(provider_type: str | None, account_id: str | None) -> CarrierRef | None:
    if provider_type is None:
        return None
    return CarrierRef(provider_type, UUID(account_id) if account_id else None)


def _at(since: float | None) -> datetime | None:
    return datetime.fromtimestamp(since, UTC) if since is not None else None


_current: Desk | None = None


def use(desk: Desk) -> Desk:
    """Make this the process's own; returns it."""
    global _current
    _current = desk
    return desk


def current() -> Desk:
    """The process's desk; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no desk is configured in this process")
    return _current
