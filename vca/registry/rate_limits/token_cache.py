"""Prefetched tokens of this process, so that few requests query the database.

Tokens are taken from the bucket before they are spent, so all processes together never spend more
than the bucket provides. Tokens that are not spent in time are lost. An empty bucket is not queried
again before it can have a token.
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
from vca.registry.rate_limits.buckets import Limit, TokenGrant, TokenRequests

# Prefetched tokens expire after this time. It is long enough that a slow key does not query the
# database per request, and short enough that few tokens are lost.
BATCH_LIFETIME_S = 5.0
# A process prefetches at most 1/20 of a full bucket.
MAX_SHARE_DIVISOR = 20
# An empty bucket is queried at most this often: at its limit it gains a token every few
# milliseconds.
MIN_RETRY_S = 0.1
CLEANUP_INTERVAL_S = 300.0
# The longest delay of a rejection. The client is told to wait for a whole second anyway.
MAX_REJECTION_DELAY_S = 1.0
_PRUNE_ABOVE = 10_000


@dataclass(frozen=True)
class LimitStatus:
    """The remaining requests of a limit, and the seconds until it is full again."""

    limit: Limit
    remaining: int
    reset_s: int


@dataclass(frozen=True)
class AcquiredTokens:
    """Tokens that were acquired for a request: what was requested, and what was granted."""

    requests: TokenRequests
    grants: Sequence[TokenGrant]


class RateLimited(DomainError):
    """Too many requests; `limit_statuses` has the exceeded limit first, then the others."""

    status = 429
    code = "rate-limited"

    def __init__(self, exceeded: LimitStatus, others: Sequence[LimitStatus]) -> None:
        limit = exceeded.limit
        super().__init__(
            f"Too many {limit.unit}: the limit of this {limit.name} is {limit.burst} "
            f"in {limit.window_s} seconds.",
            retry_after_s=exceeded.reset_s,
        )
        self.limit = limit
        self.limit_statuses = (exceeded, *others)


class _TokenBatch:
    """The prefetched tokens of one bucket."""

    __slots__ = (
        "acquired_at",
        "bucket_remaining",
        "empty_until",
        "expires_at",
        "last_rejection_at",
        "tokens",
    )

    def __init__(self) -> None:
        self.tokens = 0
        self.expires_at = 0.0
        self.bucket_remaining = 0.0
        self.acquired_at = 0.0
        self.empty_until = 0.0
        self.last_rejection_at = 0.0

    def spend_token(self, now_s: float) -> bool:
        """Spend a prefetched token; return False if there is none."""
        if not self.has_token(now_s):
            return False
        self.tokens -= 1
        return True

    def has_token(self, now_s: float) -> bool:
        """Return whether a prefetched token is left."""
        return self.tokens > 0 and now_s < self.expires_at

    def request_size(self, now_s: float, max_tokens: int) -> int:
        """Return how many tokens to acquire.

        A process that spent its last tokens before they expired acquires the maximum, any other
        process a single token. So a key that seldom sends requests to a process loses no tokens.
        """
        if now_s < self.expires_at:
            return max_tokens
        self.tokens = 0
        return 1

    def add(self, grant: TokenGrant, limit: Limit, now_s: float) -> bool:
        """Add acquired tokens and spend one; return False if there is none."""
        self.bucket_remaining, self.acquired_at = grant.remaining, now_s
        if grant.granted:
            self.tokens += grant.granted
            self.expires_at = now_s + BATCH_LIFETIME_S
        else:
            missing_s = (1 - grant.remaining) / limit.rate_per_s
            self.empty_until = now_s + max(MIN_RETRY_S, missing_s)
        return self.spend_token(now_s)  # another thread may have acquired tokens meanwhile

    def remaining(self, limit: Limit, now_s: float) -> int:
        """Estimate the tokens that can still be spent: prefetched, and those in the bucket.

        The estimate assumes that no other process acquires tokens meanwhile.
        """
        in_bucket = self.bucket_remaining + (now_s - self.acquired_at) * limit.rate_per_s
        return max(0, min(limit.burst, floor(in_bucket) + self.tokens))

    def refund(self) -> None:
        """Return the token of a request that was not executed."""
        self.tokens += 1


class TokenCache:
    """The prefetched tokens of one process, shared by its threads."""

    def __init__(self, *, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._batches: dict[UUID, _TokenBatch] = {}
        self._prune_above = _PRUNE_ABOVE
        self._cleanup_at = now() + CLEANUP_INTERVAL_S

    def plan_requests(self, limits: Sequence[Limit]) -> TokenRequests:
        """Return what to acquire for the next request together with another statement.

        That is nothing if the process has a token of a limit, or knows that one is empty.
        """
        now_s = self._now()
        with self._lock:
            batches = [self._batch_for(limit) for limit in limits]
            if any(batch.has_token(now_s) or batch.empty_until > now_s for batch in batches):
                return ()
            return self._plan_requests(limits, now_s)

    def spend(
        self,
        connection: Connection,
        limits: Sequence[Limit],
        acquired: AcquiredTokens | None = None,
    ) -> tuple[LimitStatus, ...]:
        """Spend one token of each limit, or none; return the limits' status. Raises RateLimited.

        `acquired` are tokens that were acquired for this request, as `plan_requests` returned.
        """
        now_s = self._now()
        if acquired is None:
            acquired = self._acquire_missing(connection, limits, now_s)
        if acquired is not None:
            self._add(connection, limits, acquired, now_s)
        with self._lock:
            return self._limit_statuses(limits, now_s)

    def _acquire_missing(
        self, connection: Connection, limits: Sequence[Limit], now_s: float
    ) -> AcquiredTokens | None:
        """Spend the tokens that the process has, and acquire the others."""
        with self._lock:
            self._raise_if_empty(limits, now_s)
            uncached = [limit for limit in limits if not self._batch_for(limit).spend_token(now_s)]
            requests = self._plan_requests(uncached, now_s)
        if not requests:
            return None
        return AcquiredTokens(requests, buckets.acquire(connection, requests))

    def _plan_requests(self, limits: Sequence[Limit], now_s: float) -> TokenRequests:
        max_tokens = [max(1, limit.burst // MAX_SHARE_DIVISOR) for limit in limits]
        return [
            (limit, self._batch_for(limit).request_size(now_s, maximum))
            for limit, maximum in zip(limits, max_tokens, strict=True)
        ]

    def check(self, limits: Sequence[Limit]) -> None:
        """Raise RateLimited if one of the limits is known to be empty; nothing is spent."""
        with self._lock:
            self._raise_if_empty(limits, self._now())

    def rejection_delay_s(self, limit: Limit) -> float:
        """Return the seconds to wait before a rejection by this limit is sent.

        Rejections are spaced at the bucket's refill rate; none waits longer than
        MAX_REJECTION_DELAY_S.
        """
        with self._lock:
            now_s, batch = self._now(), self._batch_for(limit)
            due_s = max(now_s, batch.last_rejection_at) + 1 / limit.rate_per_s
            batch.last_rejection_at = min(due_s, now_s + MAX_REJECTION_DELAY_S)
            return batch.last_rejection_at - now_s

    def _add(
        self,
        connection: Connection,
        limits: Sequence[Limit],
        acquired: AcquiredTokens,
        now_s: float,
    ) -> None:
        with self._lock:
            has_token = {
                limit.bucket_id: self._batch_for(limit).add(grant, limit, now_s)
                for (limit, _), grant in zip(acquired.requests, acquired.grants, strict=True)
            }
            if not all(has_token.values()):
                for limit in limits:
                    if has_token.get(limit.bucket_id, True):
                        self._batch_for(limit).refund()
                raise self._rate_limited_error(limits, now_s)
            cleanup_due = now_s >= self._cleanup_at
            self._cleanup_at = now_s + CLEANUP_INTERVAL_S if cleanup_due else self._cleanup_at
        if cleanup_due:
            buckets.delete_full(connection)

    def _raise_if_empty(self, limits: Sequence[Limit], now_s: float) -> None:
        batches = [self._batch_for(limit) for limit in limits]
        if any(not batch.has_token(now_s) and batch.empty_until > now_s for batch in batches):
            raise self._rate_limited_error(limits, now_s)

    def _rate_limited_error(self, limits: Sequence[Limit], now_s: float) -> RateLimited:
        """Return the error for the empty limit with the longest wait."""
        empty = [limit for limit in limits if not self._batch_for(limit).has_token(now_s)]
        slowest_limit = max(empty or limits, key=lambda limit: self._batch_for(limit).empty_until)
        wait_s = max(MIN_RETRY_S, self._batch_for(slowest_limit).empty_until - now_s)
        others = self._limit_statuses(
            [limit for limit in limits if limit is not slowest_limit], now_s
        )
        return RateLimited(LimitStatus(slowest_limit, 0, ceil(wait_s)), others)

    def _limit_statuses(self, limits: Sequence[Limit], now_s: float) -> tuple[LimitStatus, ...]:
        remaining_by_limit = [
            (limit, self._batch_for(limit).remaining(limit, now_s)) for limit in limits
        ]
        return tuple(
            LimitStatus(limit, remaining, ceil((limit.burst - remaining) / limit.rate_per_s))
            for limit, remaining in remaining_by_limit
        )

    def _batch_for(self, limit: Limit) -> _TokenBatch:
        batch = self._batches.get(limit.bucket_id)
        if batch is None:
            if len(self._batches) >= self._prune_above:
                self._prune()
            batch = self._batches[limit.bucket_id] = _TokenBatch()
        return batch

    def _prune(self) -> None:
        """Remove batches that neither hold tokens nor reject requests any more."""
        now_s = self._now()
        self._batches = {
            bucket: batch
            for bucket, batch in self._batches.items()
            if max(batch.expires_at, batch.empty_until) > now_s
        }
        self._prune_above = max(_PRUNE_ABOVE, 2 * len(self._batches))
