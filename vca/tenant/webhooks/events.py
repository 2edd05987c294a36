"""Emit events in the transaction of the change that they report, so that both commit or neither.

One statement stores the event, a delivery for each webhook that subscribes to it, and the jobs that
deliver. Events refer to things by id and never contain who called or what was said. Receivers that
may know more read it through the API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock, db, json
from vca.kit.paging import Listing, Page, PageRequest, RowReader
from vca.registry.webhooks import payloads, retention
from vca.registry.webhooks.delivery_worker import DELIVERY_LIFETIME
from vca.tenancy import citus
from vca.tenant.webhooks.models import WebhookEvent

DELIVER_JOB = "webhooks.deliver"
EMIT_JOB = "webhooks.tell"
# Emitting an event again under the same id has no effect.
_INSERT_EVENTS_SQL = """
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
# The first event in 24 hours schedules the purge of old events.
_IS_FIRST_OF_DAY_SQL = "NOT EXISTS (SELECT FROM events WHERE created_at > %(told_a_day_ago)s)"
_EMIT_SQL = f"""
{_INSERT_EVENTS_SQL}
SELECT jobs.enqueue(
    %(told_deliver_lane)s, %(told_deliver)s, jsonb_build_object('webhook_id', d.webhook_id),
    NULL, NULL)
FROM (SELECT DISTINCT webhook_id FROM due) d
UNION ALL
SELECT public.tell_operators(p.id, p.type, p.payload, p.created_at)
FROM payloads p
UNION ALL
SELECT jobs.enqueue(%(told_forget_lane)s, %(told_forget)s, '{{}}', %(told_forget_at)s, NULL)
WHERE {_IS_FIRST_OF_DAY_SQL}
"""
# The same in two statements for a Citus cluster: the first runs on the node with the tenant's
# tables, which does not have the functions that the second one calls.
_EMIT_ON_SHARD_SQL = f"""
{_INSERT_EVENTS_SQL}
SELECT jsonb_build_object(
    'due', ARRAY(SELECT DISTINCT webhook_id FROM due), 'first', {_IS_FIRST_OF_DAY_SQL},
    'told', coalesce((SELECT jsonb_agg(to_jsonb(p)) FROM payloads p), '[]')
)
"""
_EMIT_ON_COORDINATOR_SQL = """
SELECT jobs.enqueue(
    %(told_deliver_lane)s, %(told_deliver)s, jsonb_build_object('webhook_id', d.id), NULL, NULL)
FROM jsonb_array_elements_text(%(there)s::jsonb->'due') AS d (id)
UNION ALL
SELECT public.tell_operators(p.id, p.type, p.payload, p.created_at)
FROM jsonb_to_recordset(%(there)s::jsonb->'told')
    AS p (id uuid, type text, payload jsonb, created_at timestamptz)
UNION ALL
SELECT jobs.enqueue(%(told_forget_lane)s, %(told_forget)s, '{}', %(told_forget_at)s, NULL)
WHERE (%(there)s::jsonb->'first')::boolean
"""
_LISTING = Listing(WebhookEvent, (WebhookEvent.created_at, WebhookEvent.id))


@dataclass(frozen=True)
class Event:
    """Something that happened; `type` is one of `event_types`, `data` has ids and small values.

    Set `id` for an event that may be emitted more than once. Raise ValueError for an event that is
    too large.
    """

    type: str
    data: Mapping[str, Any]
    simulated: bool = False
    id: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        payloads.check_size(self.type, self.data)


def emit(session: Session, *events: Event, now: datetime | None = None) -> None:
    """Store the events and schedule their deliveries when the transaction commits.

    Outside of a Citus cluster this takes no round trip of its own.
    """
    if not events:
        return
    connection, parameters = session.connection(), _parameters(events, now or clock.now())
    if citus.is_enabled(connection):
        shard_result = connection.exec_driver_sql(_EMIT_ON_SHARD_SQL, parameters).scalar_one()
        shard_result = {"there": json.dumps(shard_result).decode()}
        db.defer_statement(connection, _EMIT_ON_COORDINATOR_SQL, {**parameters, **shard_result})
    else:
        db.defer_statement(connection, _EMIT_SQL, parameters)


def _parameters(events: Sequence[Event], now: datetime) -> dict[str, Any]:
    # The microseconds keep the order of the events in lists and deliveries.
    event_rows = [
        {**vars(event), "at": now + timedelta(microseconds=position)}
        for position, event in enumerate(events)
    ]
    return {
        "told": json.dumps(event_rows).decode(),
        "told_expires_at": now + DELIVERY_LIFETIME,
        "told_deliver": DELIVER_JOB,
        "told_deliver_lane": queue.lane_of(DELIVER_JOB),
        "told_forget": retention.PURGE_JOB,
        "told_forget_lane": queue.lane_of(retention.PURGE_JOB),
        "told_forget_at": now + retention.PURGE_INTERVAL,
        "told_a_day_ago": now - retention.PURGE_INTERVAL,
    }


def list_page(source: Session | RowReader, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the tenant's events of the last 30 days, oldest first."""
    return _LISTING.page(source, page, filters)
