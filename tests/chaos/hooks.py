"""The tenants' own systems in a rehearsal, and what must hold of all that they were told."""

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any

from sqlalchemy import text

from tests.chaos.points import TOLD_WITHIN_S
from tests.doubles.receiver import Behaviour, Receiver, answers
from tests.support.webhooks import Told, told, url_of
from tests.support.world import Tenant
from vca.kit import standard_webhooks
from vca.kit.crypto import BadSignature
from vca.kit.json import InvalidJson, strict_loads
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.event_types import EVENT_TYPES
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope

# An endpoint that waits for a worker that was killed keeps no other kind of event waiting.
_ALONE = ("call.started", "call.answered", "call.ended")
KINDS = (*((type,) for type in _ALONE), tuple(set(EVENT_TYPES) - set(_ALONE)))
# One answer in so many gets lost: its receiver has the event and is sent it again.
_LOST = 20
_LOOK_EVERY_S = 0.25
_TAKEN = answers(b"HTTP/1.1 204 Taken\r\n\r\n")
_OF_CALLS = ("call.started", "call.ended")


@dataclass(frozen=True)
class Hook:
    """One endpoint: who listens there, and what its requests are signed with."""

    receiver: Receiver
    secret: str

    def heard(self) -> list[Told]:
        """What has come whole; of a request whose sender was killed there is a part only."""
        found = []
        for asked in self.receiver.asked:
            body = asked.partition(b"\r\n\r\n")[2]
            with suppress(InvalidJson):
                strict_loads(body)
                found.append(asked)
        self.receiver.asked[:] = found
        return told(self.receiver)


def attach(tenant: Tenant, receivers: Sequence[Receiver]) -> tuple[Hook, ...]:
    """Have the receivers told the tenant's events, each some of them."""
    hooks, box = [], tenant_scope.for_tenant(tenant.ref)
    for receiver, types in zip(receivers, KINDS, strict=True):
        receiver.behave = _forgetful()
        with tenant_session(tenant.ref) as session:
            _, secret = endpoints.create(session, box, url=url_of(receiver), events=list(types))
        hooks.append(Hook(receiver, secret))
    return tuple(hooks)


def _forgetful() -> Behaviour:
    chance = random.Random(1)

    def behave(line: socket.socket, stop: Event) -> None:
        if chance.randrange(_LOST):
            _TAKEN(line, stop)

    return behave


@dataclass(frozen=True)
class Heard:
    """All that a tenant's systems were told, and what is on record of it."""

    happened: dict[str, str]
    requests: list[Told]
    forged: int
    ended: set[str]

    @property
    def effects(self) -> dict[str, dict[str, Any]]:
        """What is left for a receiver that knows a repeat by its id."""
        return {each.headers["webhook-id"]: each.event for each in self.requests}

    @property
    def lost(self) -> set[str]:
        return self.happened.keys() - self.effects.keys()

    def problems(self) -> Iterator[str]:
        """An event that was lost, made up, forged, or told under two names."""
        if self.lost:
            types = {self.happened[id] for id in self.lost}
            yield f"{len(self.lost)} events were lost, of {sorted(types)}"
        if made_up := self.effects.keys() - self.happened.keys():
            yield f"{len(made_up)} events never happened"
        if self.forged:
            yield f"{self.forged} requests are not signed"
        seen = Counter(
            (event["type"], event["data"]["call_id"])
            for event in self.effects.values()
            if "call_id" in event["data"]
        )
        if twice := [effect for effect, times in seen.items() if times > 1]:
            yield f"{len(twice)} effects were told under two ids: {twice[:3]}"
        wanted = {(type, call_id) for type in _OF_CALLS for call_id in self.ended}
        if missing := wanted - seen.keys():
            yield f"{len(missing)} beginnings and ends of calls were never told"


def heard(tenant: Tenant, hooks: Sequence[Hook]) -> Heard:
    """All that came, once that is everything, or has had its time."""
    ends_at = time.monotonic() + TOLD_WITHIN_S
    while (found := _heard(tenant, hooks)).lost and time.monotonic() < ends_at:
        time.sleep(_LOOK_EVERY_S)
    return found


def _heard(tenant: Tenant, hooks: Sequence[Hook]) -> Heard:
    requests = [(hook, each) for hook in hooks for each in hook.heard()]
    return Heard(
        {f"evt_{id.hex}": type for id, type in _rows(tenant, "SELECT id, type FROM events")},
        [each for _, each in requests],
        sum(not _is_signed(each, hook.secret) for hook, each in requests),
        {str(id) for (id,) in _rows(tenant, "SELECT id FROM calls WHERE ended_at IS NOT NULL")},
    )


def _is_signed(each: Told, secret: str) -> bool:
    """As it was when it came: that may be an hour ago."""
    then = datetime.fromtimestamp(int(each.headers["webhook-timestamp"]), UTC)
    try:
        standard_webhooks.verify([secret], headers=each.headers, body=each.body, now=then)
    except BadSignature:
        return False
    return True


def _rows(tenant: Tenant, query: str) -> list[Any]:
    with tenant_session(tenant.ref) as session:
        return list(session.execute(text(query)).all())
