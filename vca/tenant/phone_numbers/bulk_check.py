"""Check the carrier settings of many numbers across all tenants, for the platform."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from vca.kit.errors import DomainError, NotFound
from vca.registry.number_registry.claimed_numbers import ClaimedNumber
from vca.registry.tenants import service as tenants
from vca.services import Services
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenant.phone_numbers import registration_check

_MAX_CONCURRENT = 8


@dataclass(frozen=True)
class CheckedNumber:
    """A number and its check result; `detail` is human-readable."""

    number: ClaimedNumber
    agrees: bool
    detail: str


def check_numbers(numbers: Sequence[ClaimedNumber], *, services: Services) -> list[CheckedNumber]:
    """Check the numbers at their carriers, several at a time. Read-only."""
    with ThreadPoolExecutor(_MAX_CONCURRENT) as executor:
        return list(executor.map(partial(_check_number, services=services), numbers))


def check_browser_accounts(*, services: Services) -> list[str]:
    """Return what keeps browsers from calling through the deployment's own accounts. Read-only.

    Accounts that do not offer browser calls are left out.
    """
    carriers = services.carriers
    adapters = [carriers.adapter(name) for name in providers.ADAPTERS]
    problems: list[str] = []
    for adapter in filter(None, adapters):
        try:
            problems += [
                f"{adapter.name}: {setting.name} is {setting.actual}, not {setting.expected}"
                for setting in adapter.check_webrtc()
                if not setting.agrees
            ]
        except TelephonyError as error:
            problems.append(f"{adapter.name}: not checked: {error}")
    return problems


def _check_number(number: ClaimedNumber, *, services: Services) -> CheckedNumber:
    tenant = TenantRef(number.tenant_id)
    try:
        tenants.require_supported_schema(tenant.id, services=services)
        target = registration_check.find_target(
            tenant, phone_number_id=number.phone_number_id, services=services
        )
        if target is None:
            raise NotFound
        result = registration_check.query_carrier(tenant, target)
    except (DomainError, TelephonyError) as error:
        return CheckedNumber(number, False, f"not checked: {error}")
    return CheckedNumber(
        number, result.agrees, "as registered" if result.agrees else result.mismatch_reason
    )
