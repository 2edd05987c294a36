"""Lease a slot for a voice WebSocket: renew it while the WebSocket lives, then release it."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from uuid import UUID

from vca.kit import deadline
from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.registry.relay_slots import service as slots
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_connection

# A third of the lease, so that one failed renewal does no harm.
RENEW_INTERVAL_S = slots.LEASE_DURATION.total_seconds() / 3
_DATABASE_BUDGET_S = 4.0


class SlotLease:
    """An open slot.

    An unavailable database ends no call: the slot is renewed when the database is back.
    """

    def __init__(self, slot: UUID, database: TenantDatabase) -> None:
        self._slot, self._database = slot, database
        self._renew_at = monotonic() + RENEW_INTERVAL_S

    def renew(self) -> None:
        """Renew the slot if it is due."""
        if monotonic() < self._renew_at:
            return
        self._renew_at = monotonic() + RENEW_INTERVAL_S
        try:
            with (
                deadline.within(_DATABASE_BUDGET_S),
                public_connection(database=self._database) as connection,
            ):
                if not slots.renew(connection, self._slot):
                    log.get_logger().warning("relay.slot_lost")
        except DatabaseFailure as error:
            log.get_logger().warning("relay.slot_not_renewed", exc_info=error)

    def release(self) -> None:
        """Release the slot. If that fails, it expires by itself."""
        try:
            with (
                deadline.within(_DATABASE_BUDGET_S),
                public_connection(database=self._database) as connection,
            ):
                slots.release_slot(connection, self._slot)
        except DatabaseFailure as error:
            log.get_logger().warning("relay.slot_not_freed", exc_info=error)


@contextmanager
def lease_slot(slot: UUID, *, database: TenantDatabase) -> Iterator[SlotLease]:
    """Hold an open slot until the block ends."""
    lease = SlotLease(slot, database)
    try:
        yield lease
    finally:
        lease.release()
