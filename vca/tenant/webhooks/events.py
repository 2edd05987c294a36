"""Tell what happened: in the transaction in which it happens, so that neither is without the other.

One statement keeps the event, what each endpoint that wants it is to be sent, and the jobs that
send. Events name things by their ids and never say who called or what was said: whoever may know
that asks the API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CursorResult
from sqlalchemy.orm import Session

from vca.kit import clock, json
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.webhooks import forgetting, payloads
from vca.registry.webhooks.delivering import EXPIRES
from vca.tenancy import citus
from vca.tenant.webhooks.models import ToldEvent

DELIVER = "webhooks.deliver"
# Told twice under the same id it is the same event.
_ROWS = """
WITH happened AS (
    SELECT e.id, s.tenant_id, e.type, e.simulated, e.at,
           jsonb_build_object('tenant_id', s.tenant_id, 'simulated', e.simulated) || e.data AS data
    FROM (SELECT current_setting('vca.tenant_id')::uuid AS tenant_id) s,
        jsonb_to_recordset(%(told)s)
        AS e (id uuid, type text, simulated boolean, data jsonb, at text)
), told AS (
    INSERT INTO events (id, tenant_id, type, simulated, data, created_at)
    SELECT id, tenant_id, type, simulated, data, at::timestamptz FROM happened
    ON CONFLICT (id) DO NOTHING
    RETURNING id, created_at
), payloads AS (
    SELECT h.id, h.tenant_id, h.type, t.created_at,
           jsonb_build_object('type', h.type, 'timestamp', h.at, 'data', h.data) AS payload
    FROM happened h JOIN told t USING (id)
), due AS (
    INSERT INTO webhook_deliveries (
        id, tenant_id, webhook_id, event_id, type, payload, next_attempt_at, created_at, expires_at
    )
    SELECT gen_random_uuid(), p.tenant_id, w.id, p.id, p.type, p.payload, p.created_at,
           p.created_at, %(told_expires_at)s
    FROM payloads p JOIN webhooks w ON w.is_active AND (w.events = '[]' OR w.events ? p.type)
    RETURNING webhook_id
)
"""
# The first event in a day orders that old ones are forgotten.
_FIRST = "NOT EXISTS (SELECT FROM events WHERE created_at > %(told_a_day_ago)s)"
_TELLING = f"""
{_ROWS}
SELECT jobs.enqueue(%(told_deliver)s, jsonb_build_object('webhook_id', d.webhook_id))
FROM (SELECT DISTINCT webhook_id FROM due) d
UNION ALL
SELECT public.tell_operators(p.id, p.type, p.payload, p.created_at, %(told_expires_at)s)
FROM payloads p
UNION ALL
SELECT jobs.enqueue(%(told_forget)s, '{{}}', %(told_forget_at)s) WHERE {_FIRST}
"""
# The same in two statements: a cluster does the first where the tenant's tables are, which knows
# none of the functions that the second calls.
_TELLING_THERE = f"""
{_ROWS}
SELECT jsonb_build_object(
    'due', ARRAY(SELECT DISTINCT webhook_id FROM due), 'first', {_FIRST},
    'told', coalesce((SELECT jsonb_agg(to_jsonb(p)) FROM payloads p), '[]')
)
"""
_TELLING_HERE = """
SELECT jobs.enqueue(%(told_deliver)s, jsonb_build_object('webhook_id', d.id))
FROM jsonb_array_elements_text(%(there)s::jsonb->'due') AS d (id)
UNION ALL
SELECT public.tell_operators(p.id, p.type, p.payload, p.created_at, %(told_expires_at)s)
FROM jsonb_to_recordset(%(there)s::jsonb->'told')
    AS p (id uuid, type text, payload jsonb, created_at timestamptz)
UNION ALL
SELECT jobs.enqueue(%(told_forget)s, '{}', %(told_forget_at)s)
WHERE (%(there)s::jsonb->'first')::boolean
"""
_LISTING = Listing(ToldEvent, (ToldEvent.created_at, ToldEvent.id))


@dataclass(frozen=True)
class Event:
    """Something that happened, of one of `event_types`; `data` is ids and other small plain values.

    `id`: of one that may be told twice. Raises ValueError for one that is too large to be told.
    """

    type: str
    data: Mapping[str, Any]
    simulated: bool = False
    id: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        payloads.check(self.type, self.data)


def tell(session: Session, *happened: Event, now: datetime | None = None) -> None:
    """Keep the events, and have them sent to whoever wants them, when the transaction commits."""
    if not happened:
        return
    connection, told = session.connection(), _parameters(happened, now or clock.now())
    if citus.in_use():
        there = connection.exec_driver_sql(_TELLING_THERE, told).scalar_one()
        there = {"there": json.dumps(there).decode()}
        connection.exec_driver_sql(_TELLING_HERE, {**told, **there})
    else:
        connection.exec_driver_sql(_TELLING, told)


def tell_with(
    session: Session, statement: str, parameters: Mapping[str, Any], *, happened: Sequence[Event]
) -> CursorResult[Any]:
    """Execute a statement, after telling what happened in the same round trip; its result.

    Its parameters have names that do not begin with `told`.
    """
    if happened and not citus.in_use():
        statement = f"{_TELLING}; {statement}"
        parameters = {**_parameters(happened, clock.now()), **parameters}
    else:
        tell(session, *happened)
    return session.connection().exec_driver_sql(statement, dict(parameters))


def _parameters(happened: Sequence[Event], now: datetime) -> dict[str, Any]:
    told = [
        {**vars(event), "at": now + timedelta(microseconds=place)}  # listed and sent in this order
        for place, event in enumerate(happened)
    ]
    return {
        "told": json.dumps(told).decode(),
        "told_expires_at": now + EXPIRES,
        "told_deliver": DELIVER,
        "told_forget": forgetting.FORGET,
        "told_forget_at": now + forgetting.EVERY,
        "told_a_day_ago": now - forgetting.EVERY,
    }


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """The tenant's events of the last thirty days, oldest first: one catches up from the last."""
    return _LISTING.page(session, page, filters)
