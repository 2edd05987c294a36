"""The tokens that this process has in hand: drawn ahead, so that few requests ask the database.

Tokens are taken from the bucket before they are spent, so all processes together never spend more
than it gave. What is not spent soon is lost; a bucket found empty is not asked again before it can
have a token.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from time import monotonic
from uuid import UUID

from sqlalchemy import Connection

from vca.kit.errors import DomainError
from vca.registry.rate_limits import buckets
from vca.registry.rate_limits.buckets import Drawn, Limit

# A slow key is not to draw for each of its requests. What is in hand for so long is little:
LEASE_S = 5.0
# no process holds more than this part of what a bucket holds when it is full.
SHARE = 20
# At its limit a bucket has a token every few milliseconds: it is not asked for each of them.
PAUSE_S = 0.1
SWEEP_EVERY_S = 300.0
# A refusal is kept no longer: its client is told to wait for a whole second anyway.
HOLD_S = 1.0
_MANY = 10_000


@dataclass(frozen=True)
class Standing:
    """How a limit stands: requests that are left, and seconds until it is whole again."""

    limit: Limit
    remaining: int
    reset_s: int


class RateLimited(DomainError):
    """Too many requests; `standings` has the limit that was met first, and those beside it."""

    status = 429
    code = "rate-limited"

    def __init__(self, met: Standing, others: Sequence[Standing]) -> None:
        limit = met.limit
        super().__init__(
            f"Too many {limit.counts}: the limit of this {limit.name} is {limit.burst} "
            f"in {limit.window_s} seconds.",
            retry_after_s=met.reset_s,
        )
        self.limit = limit
        self.standings = (met, *others)


class _Lease:
    """What is in hand of one bucket."""

    __slots__ = (
        "answered_at",
        "drawn_at",
        "ends_at",
        "held",
        "left",
        "refused_until",
        "spent",
        "wanted",
    )

    def __init__(self) -> None:
        self.held = 0
        self.ends_at = 0.0
        self.spent = 0
        self.wanted = 1
        self.left = 0.0
        self.drawn_at = 0.0
        self.refused_until = 0.0
        self.answered_at = 0.0

    def take(self, now_s: float) -> bool:
        """Spend a token that is in hand, if there is one."""
        if not self.has(now_s):
            return False
        self.held -= 1
        self.spent += 1
        return True

    def has(self, now_s: float) -> bool:
        """Whether a token is in hand."""
        return self.held > 0 and now_s < self.ends_at

    def wish(self, now_s: float, most: int) -> int:
        """How many to draw: twice as many if the last ones did not last, else what was spent."""
        if now_s < self.ends_at:
            self.wanted *= 2
        else:
            self.wanted, self.held = self.spent, 0
        self.wanted = max(1, min(self.wanted, most))
        self.spent = 0
        return self.wanted

    def fill(self, drawn: Drawn, limit: Limit, now_s: float) -> bool:
        """Have in hand what was drawn, and spend a token; False if there is none."""
        self.left, self.drawn_at = drawn.remaining, now_s
        if drawn.granted:
            self.held += drawn.granted
            self.ends_at = now_s + LEASE_S
        else:
            short_s = (1 - drawn.remaining) / limit.rate
            self.refused_until = now_s + max(PAUSE_S, short_s)
        return self.take(now_s)  # maybe one that another thread has drawn meanwhile

    def remaining(self, limit: Limit, now_s: float) -> int:
        """About what may still be spent: in hand, and in the bucket if nobody else drew from it."""
        in_bucket = self.left + (now_s - self.drawn_at) * limit.rate
        return max(0, min(limit.burst, floor(in_bucket) + self.held))

    def give_back(self) -> None:
        """The request was not done: its token is in hand again."""
        self.held += 1
        self.spent -= 1


class Leases:
    """The tokens of one process, for all of its threads."""

    def __init__(self, *, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._leases: dict[UUID, _Lease] = {}
        self._many = _MANY
        self._sweep_at = now() + SWEEP_EVERY_S

    def spend(self, connection: Connection, limits: Sequence[Limit]) -> tuple[Standing, ...]:
        """One token of each limit, or none at all; how they stand then. Raises RateLimited."""
        now_s = self._now()
        with self._lock:
            self._refuse(limits, now_s)
            short = [limit for limit in limits if not self._of(limit).take(now_s)]
            most = [(limit, max(1, limit.burst // SHARE)) for limit in short]
            wishes = [(limit, self._of(limit).wish(now_s, share)) for limit, share in most]
        if wishes:
            self._draw(connection, limits, wishes, now_s)
        with self._lock:
            return self._standings(limits, now_s)

    def check(self, limits: Sequence[Limit]) -> None:
        """Raise RateLimited if one of these is known to be empty; nothing is spent."""
        with self._lock:
            self._refuse(limits, self._now())

    def turn(self, limit: Limit) -> float:
        """Seconds until a refusal by this limit may be answered.

        A bucket's are as far apart as its tokens, but none waits for longer than HOLD_S.
        """
        with self._lock:
            now_s, lease = self._now(), self._of(limit)
            due_s = max(now_s, lease.answered_at) + 1 / limit.rate
            lease.answered_at = min(due_s, now_s + HOLD_S)
            return lease.answered_at - now_s

    def _draw(
        self,
        connection: Connection,
        limits: Sequence[Limit],
        wishes: Sequence[tuple[Limit, int]],
        now_s: float,
    ) -> None:
        drawn = buckets.draw(connection, wishes)
        with self._lock:
            filled = {
                limit.bucket: self._of(limit).fill(each, limit, now_s)
                for (limit, _), each in zip(wishes, drawn, strict=True)
            }
            if not all(filled.values()):
                for limit in limits:
                    if filled.get(limit.bucket, True):
                        self._of(limit).give_back()
                raise self._refusal(limits, now_s)
            sweeps = now_s >= self._sweep_at
            self._sweep_at = now_s + SWEEP_EVERY_S if sweeps else self._sweep_at
        if sweeps:
            buckets.sweep(connection)

    def _refuse(self, limits: Sequence[Limit], now_s: float) -> None:
        leases = [self._of(limit) for limit in limits]
        if any(not lease.has(now_s) and lease.refused_until > now_s for lease in leases):
            raise self._refusal(limits, now_s)

    def _refusal(self, limits: Sequence[Limit], now_s: float) -> RateLimited:
        """By the empty limit that has to be waited for the longest."""
        empty = [limit for limit in limits if not self._of(limit).has(now_s)]
        longest = max(empty or limits, key=lambda limit: self._of(limit).refused_until)
        wait_s = max(PAUSE_S, self._of(longest).refused_until - now_s)
        others = self._standings([limit for limit in limits if limit is not longest], now_s)
        return RateLimited(Standing(longest, 0, ceil(wait_s)), others)

    def _standings(self, limits: Sequence[Limit], now_s: float) -> tuple[Standing, ...]:
        found = [(limit, self._of(limit).remaining(limit, now_s)) for limit in limits]
        return tuple(
            Standing(limit, left, ceil((limit.burst - left) / limit.rate)) for limit, left in found
        )

    def _of(self, limit: Limit) -> _Lease:
        found = self._leases.get(limit.bucket)
        if found is None:
            if len(self._leases) >= self._many:
                self._forget()
            found = self._leases[limit.bucket] = _Lease()
        return found

    def _forget(self) -> None:
        """Let go of what neither holds tokens nor refuses any more."""
        now_s = self._now()
        self._leases = {
            bucket: lease
            for bucket, lease in self._leases.items()
            if max(lease.ends_at, lease.refused_until) > now_s
        }
        self._many = max(_MANY, 2 * len(self._leases))
