"""A socket's slot, renewed for as long as the socket lives and free with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from uuid import UUID

from vca.kit import deadline, log
from vca.kit.db import DatabaseFailure
from vca.registry.relay_slots import service as slots
from vca.tenancy.session import lookup

# A third of the lease, so that one failure is none.
EVERY_S = slots.LEASE.total_seconds() / 3
_PATIENCE_S = 4.0


class Lease:
    """An open slot. A database that is away ends no call: the slot is renewed when it is back."""

    def __init__(self, slot: UUID) -> None:
        self._slot = slot
        self._renew_at = monotonic() + EVERY_S

    def renew(self) -> None:
        """Renew the slot if it is time to."""
        if monotonic() < self._renew_at:
            return
        self._renew_at = monotonic() + EVERY_S
        try:
            with deadline.within(_PATIENCE_S), lookup() as connection:
                if not slots.renew(connection, self._slot):
                    log.get().warning("relay.slot_lost")
        except DatabaseFailure as error:
            log.get().warning("relay.slot_not_renewed", exc_info=error)

    def free(self) -> None:
        """Give the slot back; where that fails, it runs out by itself."""
        try:
            with deadline.within(_PATIENCE_S), lookup() as connection:
                slots.free(connection, self._slot)
        except DatabaseFailure as error:
            log.get().warning("relay.slot_not_freed", exc_info=error)


@contextmanager
def held(slot: UUID) -> Iterator[Lease]:
    """Hold an open slot until the block ends."""
    lease = Lease(slot)
    try:
        yield lease
    finally:
        lease.free()
