"""The claimed numbers of all tenants, for operators' commands; no tenant is visited."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from vca.registry.dids.models import Did
from vca.registry.dids.service import order_registration
from vca.tenancy.session import public

# Ordered in one transaction: the queue is shared.
_AT_ONCE = 500


@dataclass(frozen=True)
class Claimed:
    """A number in use, and whose it is."""

    did_number: str
    tenant_id: UUID
    phone_number_id: UUID
    provider_type: str


def claimed(session: Session, *, tenant_id: UUID | None = None) -> Sequence[Claimed]:
    """Every number in use, or a tenant's, by number."""
    return _found(session, tenant_id)


def registered(session: Session, *, tenant_id: UUID | None = None) -> Sequence[Claimed]:
    """Those whose carrier has said that they are registered."""
    return _found(session, tenant_id, Did.registration_status == "registered")


def reregister(*, tenant_id: UUID | None = None) -> int:
    """Order that every number in use, or a tenant's, is registered anew; how many orders.

    An inactive number's order is found not to be wanted by the job that would carry it out.
    """
    ordered, last = 0, ""
    while True:
        with public() as session:
            batch = _batch(session, tenant_id, after=last)
            for did in batch:
                order_registration(session, did)
        if not batch:
            return ordered
        ordered, last = ordered + len(batch), batch[-1].did_number


def _batch(session: Session, tenant_id: UUID | None, *, after: str) -> Sequence[Did]:
    wanted = select(Did).where(Did.state == "claimed", Did.did_number > after)
    if tenant_id is not None:
        wanted = wanted.where(Did.tenant_id == tenant_id)
    return session.scalars(wanted.order_by(Did.did_number).limit(_AT_ONCE)).all()


def _found(
    session: Session, tenant_id: UUID | None, *which: ColumnElement[bool]
) -> Sequence[Claimed]:
    columns: list[Any] = [getattr(Did, each.name) for each in fields(Claimed)]
    wanted = select(*columns).where(Did.state == "claimed", *which)
    if tenant_id is not None:
        wanted = wanted.where(Did.tenant_id == tenant_id)
    return [Claimed(*row) for row in session.execute(wanted.order_by(Did.did_number))]
