"""Events at a steady pace, and how long after its commit each has come."""

import random
import time
from collections.abc import Sequence
from uuid import uuid4

from benchmarks.deliveries.backlog import Endpoints
from benchmarks.deliveries.receivers import Receivers
from vca.tenancy.session import enter
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

PACE = 10
_WITHIN_S = 60.0


def measure(told: Sequence[Endpoints], receivers: Receivers, *, seconds: float) -> list[float]:
    """Seconds from commit to receipt of each event; one that never came counts as infinite."""
    committed = _tell(told, seconds)
    ends_at = time.monotonic() + _WITHIN_S
    while time.monotonic() < ends_at and not committed.keys() <= receivers.came_at().keys():
        time.sleep(0.5)
    came = receivers.came_at()
    return [came.get(id, float("inf")) - at for id, at in committed.items()]


def _tell(told: Sequence[Endpoints], seconds: float) -> dict[str, float]:
    """Tell tenants by turns, the one with the dead receiver each second time."""
    chance, committed = random.Random(1), {}
    began = time.monotonic()
    for place in range(int(seconds * PACE)):
        time.sleep(max(0.0, began + place / PACE - time.monotonic()))
        whose = told[0] if place % 2 else chance.choice(told[1:])
        event = Event("message.taken", {"message_id": uuid4(), "call_id": uuid4()})
        with enter(whose.tenant) as session:
            events.tell(session, event)
        committed[event.id.hex] = time.monotonic()
    return committed
