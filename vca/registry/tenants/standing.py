"""What a transaction inside a tenant may know of its tenant's row."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sqlalchemy import func, select
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Standing:
    """A tenant's plan and status, whether dialling is frozen for all tenants, the plan's limits."""

    plan: str
    tenant_status: str
    dialling_frozen: bool
    plan_limits: Mapping[str, int]


def own(session: Session) -> Standing:
    """The standing of the session's tenant."""
    call = func.public.own_standing().table_valued(*(each.name for each in fields(Standing)))
    return Standing(*session.execute(select(call)).one())
