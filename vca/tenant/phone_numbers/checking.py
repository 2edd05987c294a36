"""What a number's carrier holds of it, beside what registering it would set. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from vca.kit import clock, deeds
from vca.kit.errors import Conflict, NotFound
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import Held
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers import at_carrier
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.telephony_accounts import carriers


class NoCarrier(Conflict):
    """The number's carrier is not configured, or its account cannot be read."""

    code = "carrier-not-configured"

    def __init__(self) -> None:
        super().__init__("The number's carrier is not configured.")


@dataclass(frozen=True)
class Checked:
    """What was found, and by whom. No fields: the account has no such number."""

    provider_type: str
    checked_at: datetime
    fields: Sequence[Held]

    @property
    def agrees(self) -> bool:
        """Whether the carrier has all that it should have."""
        return bool(self.fields) and all(field.agrees for field in self.fields)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The fields with their verdicts, for the API."""
        return [{**vars(field), "agrees": field.agrees} for field in self.fields]

    @property
    def why_not(self) -> str:
        """In what it does not agree, for people."""
        names = ", ".join(field.name for field in self.fields if not field.agrees)
        return (
            f"the carrier holds otherwise: {names}" if names else "the carrier has no such number"
        )


@dataclass(frozen=True)
class Asked:
    """A number as a job holds it, and the carrier that can be asked about it."""

    phone_number_id: UUID
    did_number: str
    round: int
    carrier: TelephonyAdapter


def check(tenant: TenantRef, *, phone_number_id: UUID) -> Checked:
    """Ask the number's carrier now, and tell who wanted that; no transaction is open meanwhile.

    Raises NotFound, NoCarrier and TelephonyError.
    """
    asked = find(tenant, phone_number_id=phone_number_id)
    if asked is None:
        raise NotFound
    found = ask(tenant, asked)
    with enter(tenant) as session:
        deeds.note(session, "phone_number", phone_number_id)
    return found


def find(tenant: TenantRef, *, phone_number_id: UUID) -> Asked | None:
    """The number and who is asked about it. Raises NoCarrier."""
    with enter(tenant) as session:
        number = session.get(PhoneNumber, phone_number_id)
        if number is None:
            return None
        carrier = carriers.of_number(session, at_carrier.ref_of(number))
        if carrier is None:
            raise NoCarrier
        return Asked(number.id, number.did_number, number.registration_round, carrier)


def ask(tenant: TenantRef, asked: Asked) -> Checked:
    """Ask the carrier. Raises TelephonyError."""
    found = asked.carrier.check_number(tenant.id, asked.phone_number_id, asked.did_number)
    return Checked(asked.carrier.name, clock.now(), found)
