"""Acquire, open, renew and release slots, each in one autocommitted statement."""

from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from vca.kit import db

# How long a carrier may take to open its WebSocket, and how long a slot outlives its process.
CONNECT_TIMEOUT = timedelta(seconds=10)
LEASE_DURATION = timedelta(seconds=60)
_ACQUIRE = "SELECT public.take_relay_slot(%(id)s::uuid, %(most)s, %(wait)s)"
_EXTEND = "SELECT public.hold_relay_slot(%(id)s::uuid, %(opens)s, %(lease)s)"
_RELEASE = "SELECT public.free_relay_slot(%(id)s::uuid)"


def acquire_slot(connection: Connection, *, max_slots: int) -> UUID | None:
    """Acquire a slot if fewer than `max_slots` are taken; return None otherwise.

    The slot is free again unless it is opened within CONNECT_TIMEOUT.
    """
    slot = uuid4()
    is_acquired = _call_function(
        connection, _ACQUIRE, id=slot.hex, most=max_slots, wait=CONNECT_TIMEOUT
    )
    return slot if is_acquired else None


def open_once(connection: Connection, slot: UUID) -> bool:
    """Open an acquired slot for LEASE_DURATION; return False if it was opened before or expired."""
    return _call_function(connection, _EXTEND, id=slot.hex, opens=True, lease=LEASE_DURATION)


def renew(connection: Connection, slot: UUID) -> bool:
    """Renew an open slot for LEASE_DURATION; return False if it has expired."""
    return _call_function(connection, _EXTEND, id=slot.hex, opens=False, lease=LEASE_DURATION)


def release_slot(connection: Connection, slot: UUID) -> bool:
    """Release a slot; return False if it is already free."""
    return _call_function(connection, _RELEASE, id=slot.hex)


def _call_function(connection: Connection, statement: str, **parameters: object) -> bool:
    row = db.fetch_one(connection, statement, parameters)
    assert row is not None
    return bool(row[0])
