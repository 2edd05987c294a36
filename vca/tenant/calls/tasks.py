"""The jobs of calls: dial one, look whether one lives, note what it was about, forget it."""

from uuid import UUID

from vca.kit import clock, jobs
from vca.tenancy.schema import TenantRef
from vca.tenant.calls import aftermath, forgetting, outbound, reconciling
from vca.tenant.calls.ending import ANALYSE
from vca.tenant.calls.forgetting import FORGET, FORGET_PAYLOADS
from vca.tenant.calls.outbound import DIAL
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.watch import CHECK


def _ref(tenant_id: str, call_id: str) -> CallRef:
    return CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))


@jobs.task(DIAL)
def dial(*, tenant_id: str, call_id: str) -> None:
    """Have the carrier place an outbound call, once."""
    outbound.dial(_ref(tenant_id, call_id))


@jobs.task(CHECK)
def check(*, tenant_id: str, call_id: str) -> None:
    """Ask the carrier about a call that has been silent for long."""
    reconciling.check(_ref(tenant_id, call_id))


@jobs.task(FORGET)
def forget(*, tenant_id: str) -> None:
    """Delete what was said in calls whose time has come."""
    forgetting.forget(TenantRef(UUID(tenant_id)), now=clock.now())


@jobs.task(FORGET_PAYLOADS)
def forget_payloads(*, tenant_id: str) -> None:
    """Empty what carriers told of calls whose time has come."""
    forgetting.forget_payloads(TenantRef(UUID(tenant_id)), now=clock.now())


@jobs.task(ANALYSE)
def analyse(*, tenant_id: str, call_id: str) -> None:
    """Note what a call was about."""
    aftermath.analyse(_ref(tenant_id, call_id))
