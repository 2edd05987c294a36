"""Take, open, renew and free slots, each in one autocommitted statement."""

from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from vca.kit import db

# How long a carrier may take to open its socket, and how long a slot outlives its process.
WAIT = timedelta(seconds=10)
LEASE = timedelta(seconds=60)
_TAKE = "SELECT public.take_relay_slot(%(id)s::uuid, %(most)s, %(wait)s)"
_HOLD = "SELECT public.hold_relay_slot(%(id)s::uuid, %(opens)s, %(lease)s)"
_FREE = "SELECT public.free_relay_slot(%(id)s::uuid)"


def take(connection: Connection, *, most: int) -> UUID | None:
    """A slot, if fewer than `most` are taken; it is free again unless it is opened in `WAIT`."""
    slot = uuid4()
    taken = _asked(connection, _TAKE, id=slot.hex, most=most, wait=WAIT)
    return slot if taken else None


def open_once(connection: Connection, slot: UUID) -> bool:
    """Open a taken slot for `LEASE`; False for one that was opened before or has run out."""
    return _asked(connection, _HOLD, id=slot.hex, opens=True, lease=LEASE)


def renew(connection: Connection, slot: UUID) -> bool:
    """Hold an open slot for another `LEASE`; False for one that has run out."""
    return _asked(connection, _HOLD, id=slot.hex, opens=False, lease=LEASE)


def free(connection: Connection, slot: UUID) -> bool:
    """Give a slot back; False for one that is free already."""
    return _asked(connection, _FREE, id=slot.hex)


def _asked(connection: Connection, statement: str, **given: object) -> bool:
    row = db.run_one(connection, statement, given)
    assert row is not None
    return bool(row[0])
