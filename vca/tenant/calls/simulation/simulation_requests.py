"""What a simulation is requested with, and the tenant's numbers and profiles that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import clock
from vca.kit.errors import Conflict, InvalidInput
from vca.registry.tenants import tenant_status
from vca.services import Services
from vca.telephony.types import Direction
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.calls.control.outbound_calls import NumberNotUsable
from vca.tenant.calls.core import call_profile
from vca.tenant.calls.core.simulations import RequestedProfile, Simulation, TransferOutcome
from vca.tenant.calls.routing.routing_rules import Route, RuleResult
from vca.tenant.phone_numbers.models import PhoneNumber


class NotAnsweredByAgent(Conflict):
    """The number or the tenant is not in service, so there is nothing to simulate.

    The message contains the reason and the route's end reason.
    """

    code = "not-answered-by-agent"

    def __init__(self, route: Route) -> None:
        last_step = route.steps[-1]
        super().__init__(f"No agent would answer: {last_step.why} ({route.end_reason}).")


@dataclass(frozen=True)
class SimulationRequest:
    """A simulation as it is requested.

    - `to`: the number that is called. None: the profile answers without a number.
    - `caller`: the caller's number of an inbound call. None: it is withheld.
    - `from_phone_number_id`: the tenant's number that places an outbound call.
    - `moment`: what the call's clock shows at its start. None: the real time.
    - `version`: None is the profile's current one.
    """

    to: str | None = None
    caller: str | None = None
    direction: Direction = "inbound"
    from_phone_number_id: UUID | None = None
    moment: datetime | None = None
    ai_profile_id: UUID | None = None
    version: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    transfer_outcome: TransferOutcome | None = None


@dataclass(frozen=True)
class ResolvedRequest:
    """The simulation, and the tenant's number that places an outbound call."""

    simulation: Simulation
    from_number: str | None = None


def resolve_request(
    tenant: TenantRef, request: SimulationRequest, *, services: Services
) -> ResolvedRequest:
    """Load what the request names.

    Raises InvalidInput for a number, profile or version that the tenant does not have, and
    NumberNotUsable for a number that cannot place calls.
    """
    with tenant_session(tenant, database=services.database) as session:
        number = _load_number(session, request)
        profile_id = _profile_id(session, request, number)
        profile = (
            load_profile_version(session, profile_id, request.version)
            if profile_id is not None
            else None
        )
        if request.to is None or number is not None:  # no route decides
            _require_active_tenant(session)
    simulation = Simulation(
        clock_offset(request.moment), profile, request.variables, request.transfer_outcome
    )
    return ResolvedRequest(simulation, number.did_number if number else None)


def clock_offset(moment: datetime | None) -> timedelta:
    """Return how far a clock that shows `moment` now is ahead of the real one."""
    return moment - clock.now() if moment is not None else timedelta()


def load_profile_version(
    session: Session, ai_profile_id: UUID, version: int | None
) -> RequestedProfile:
    """Return a version of a profile; None is the current one.

    Versions of a deleted profile can still be named. Raises InvalidInput for a profile or version
    that the tenant does not have.
    """
    versions = select(AiProfileVersion.version, AiProfileVersion.profile).where(
        AiProfileVersion.ai_profile_id == ai_profile_id
    )
    if version is None:
        current_version = select(AiProfile.version).where(AiProfile.id == ai_profile_id)
        versions = versions.where(AiProfileVersion.version == current_version.scalar_subquery())
    row = session.execute(
        versions if version is None else versions.where(AiProfileVersion.version == version)
    ).one_or_none()
    if row is not None:
        profile = call_profile.profile_from_fields(row.profile)
        return RequestedProfile(ai_profile_id, row.version, profile)
    if version is not None and session.scalar(select(versions.exists())):
        raise InvalidInput.field("version", "The AI profile has no such version.")
    raise InvalidInput.field("ai_profile_id", "The tenant has no AI profile with this id.")


def _load_number(session: Session, request: SimulationRequest) -> PhoneNumber | None:
    """Return the number that places an outbound call, or None for an inbound one."""
    if request.direction == "inbound":
        return None
    number = session.get(PhoneNumber, request.from_phone_number_id)
    if number is None:
        raise InvalidInput.field(
            "from_phone_number_id", "The tenant has no phone number with this id."
        )
    if not number.is_active:
        raise NumberNotUsable("The number is not active.")
    return number


def _profile_id(
    session: Session, request: SimulationRequest, number: PhoneNumber | None
) -> UUID | None:
    """Return the profile that answers; None leaves it to the route."""
    if request.ai_profile_id is not None or number is None:
        return request.ai_profile_id
    default_profile = select(AiProfile.id).where(AiProfile.is_default)
    profile_id = number.ai_profile_id or session.scalar(default_profile)
    if profile_id is None:
        raise NumberNotUsable("The tenant has no AI profile for the call.")
    return profile_id


def _require_active_tenant(session: Session) -> None:
    status = tenant_status.get_tenant_status(session).tenant_status
    if status != "active":
        step = RuleResult("tenant", "decided", f"the tenant is {status}")
        raise NotAnsweredByAgent(Route("refused", (step,), "tenant_suspended"))
