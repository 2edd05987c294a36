"""What answering calls needs beside the database: our seal, the models, our public address."""

from dataclasses import dataclass
from uuid import UUID

from vca.conversation.engine import NO_LIMITS
from vca.conversation.llm.models import Models
from vca.conversation.types import Limits
from vca.kit import crypto
from vca.telephony.adapter import BadCarrierRequest
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.refs import CallRef

_PURPOSE = "call"


@dataclass(frozen=True)
class Sealed:
    """A call, and how far it was when its carrier was answered: the turns on record, and how many
    characters of the answer to the last one had been said by then.
    """

    ref: CallRef
    turns: int | None = None
    said: int = 0


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

    def seal(self, ref: CallRef, *, turns: int | None = None, said: int = 0) -> str:
        """The call as a token that a carrier may carry: readable, not forgeable."""
        kept = [ref.tenant.id.hex, ref.call_id.hex, turns, said]
        return crypto.sign(self.secret, kept, purpose=_PURPOSE)

    def unseal(self, state: str) -> Sealed:
        """What `seal` sealed; raises BadCarrierRequest for anything else."""
        try:
            tenant_id, call_id, turns, said = crypto.unsign(self.secret, state, purpose=_PURPOSE)
        except (crypto.BadSignature, ValueError):
            raise BadCarrierRequest("the state is not ours") from None
        return Sealed(CallRef(TenantRef(UUID(tenant_id)), UUID(call_id)), turns, said)


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
