"""What the carriers hold of many numbers, over all tenants: for operators."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vca.kit.errors import DomainError, NotFound
from vca.registry.dids.fleet import Claimed
from vca.registry.tenants import service as tenants
from vca.telephony.adapter import TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenant.phone_numbers import checking

_AT_ONCE = 8


@dataclass(frozen=True)
class Inspected:
    """A number, and what was found of it; `found` is for people."""

    number: Claimed
    agrees: bool
    found: str


def inspect(numbers: Sequence[Claimed]) -> list[Inspected]:
    """Ask the carriers of these numbers, several at a time; nothing is changed."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(_inspect, numbers))


def _inspect(number: Claimed) -> Inspected:
    tenant = TenantRef(number.tenant_id)
    try:
        tenants.require_supported(tenant.id)
        asked = checking.find(tenant, phone_number_id=number.phone_number_id)
        if asked is None:
            raise NotFound
        found = checking.ask(tenant, asked)
    except (DomainError, TelephonyError) as error:
        return Inspected(number, False, f"not asked: {error}")
    return Inspected(number, found.agrees, "as registered" if found.agrees else found.why_not)
