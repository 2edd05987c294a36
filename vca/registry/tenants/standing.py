"""What a transaction inside a tenant may know of its tenant's row."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Standing:
    """A tenant's plan and status, and whether dialling is frozen for all tenants."""

    plan: str
    tenant_status: str
    dialling_frozen: bool


def own(session: Session) -> Standing:
    """The standing of the session's tenant."""
    call = func.public.own_standing().table_valued("plan", "tenant_status", "dialling_frozen")
    return Standing(*session.execute(select(call)).one())
