"""The part of a tenant's row that a transaction inside the tenant can read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sqlalchemy import func, select
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class TenantStatus:
    """A tenant's plan and status, the plan's limits, and whether dialling is frozen for all."""

    plan: str
    tenant_status: str
    dialling_frozen: bool
    plan_limits: Mapping[str, int]


def get_tenant_status(session: Session) -> TenantStatus:
    """Return the status of the session's tenant."""
    function = func.public.own_standing().table_valued(
        *(field.name for field in fields(TenantStatus))
    )
    return TenantStatus(*session.execute(select(function)).one())
