"""Take, open, renew and free slots, each in one autocommitted statement."""

from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from vca.kit import db

# How long a carrier may take to open its socket, and how long a slot outlives its process.
CONNECT_TIMEOUT = timedelta(seconds=10)
LEASE_DURATION = timedelta(seconds=60)
_ACQUIRE = "SELECT public.take_relay_slot(%(id)s::uuid, %(most)s, %(wait)s)"
_EXTEND = "SELECT public.hold_relay_slot(%(id)s::uuid, %(opens)s, %(lease)s)"
_RELEASE = "SELECT public.free_relay_slot(%(id)s::uuid)"


def acquire_slot(connection: Connection, *, max_slots: int) -> UUID | None:
    """A slot, if fewer than `most` are taken; it is free again unless it is opened in `WAIT`."""
    slot = uuid4()
    is_acquired = _call_function(
        connection, _ACQUIRE, id=slot.hex, most=max_slots, wait=CONNECT_TIMEOUT
    )
    return slot if is_acquired else None


def open_once(connection: Connection, slot: UUID) -> bool:
    """Open a taken slot for `LEASE`; False for one that was opened before or has run out."""
    return _call_function(connection, _EXTEND, id=slot.hex, opens=True, lease=LEASE_DURATION)


def renew(connection: Connection, slot: UUID) -> bool:
    """Hold an open slot for another `LEASE`; False for one that has run out."""
    return _call_function(connection, _EXTEND, id=slot.hex, opens=False, lease=LEASE_DURATION)


def release_slot(connection: Connection, slot: UUID) -> bool:
    """Give a slot back; False for one that is free already."""
    return _call_function(connection, _RELEASE, id=slot.hex)


def _call_function(connection: Connection, statement: str, **parameters: object) -> bool:
    row = db.fetch_one(connection, statement, parameters)
    assert row is not None
    return bool(row[0])
