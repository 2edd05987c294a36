"""Tests of the token buckets in the database and of the tokens that a process prefetches."""

from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tests.support import locks
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.kit import db
from vca.registry.rate_limits import buckets, token_cache
from vca.registry.rate_limits.buckets import Limit
from vca.registry.rate_limits.token_cache import RateLimited, TokenCache
from vca.tenancy.session import tenant_session

pytestmark = pytest.mark.usefixtures("app")

# No bucket gains a token during a test at this rate.
NEGLIGIBLE_RATE = 0.001
PROCESS_COUNT = 12


def _limit(name: str = "key", *, rate: float = NEGLIGIBLE_RATE, burst: int = 100) -> Limit:
    return Limit(name, uuid4(), rate, burst)


def _acquire(limit: Limit, count: int) -> tuple[int, float]:
    with app_services().database.connection() as connection:
        [grant] = buckets.acquire(connection, [(limit, count)])
    return grant.granted, round(grant.remaining, 1)


def _sql(statement: str, limit: Limit) -> tuple[float, ...] | None:
    with app_services().database.connection() as connection:
        return db.fetch_one(connection, statement, {"id": limit.bucket_id.hex})


def _advance_time(limit: Limit, seconds: float) -> None:
    """Change the bucket as if this time had passed."""
    assignment = f"full_at = full_at - make_interval(secs => {seconds})"
    assert _sql(f"UPDATE public.rate_buckets SET {assignment} WHERE id = %(id)s RETURNING 1", limit)


def _spend_token(cache: TokenCache, *limits: Limit) -> bool:
    with app_services().database.connection() as connection:
        try:
            cache.spend(connection, limits)
        except RateLimited:
            return False
    return True


def _cache_with_stopped_clock() -> TokenCache:
    """Return the token cache of a process whose clock has stopped."""
    return TokenCache(now=lambda: 0.0)


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def requested_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of tokens that each query of the database requests."""
    counts: list[int] = []
    acquire = buckets.acquire

    def acquire_and_record(
        connection: Connection, requests: list[tuple[Limit, int]]
    ) -> list[buckets.TokenGrant]:
        counts.append(sum(count for _, count in requests))
        return acquire(connection, requests)

    monkeypatch.setattr(buckets, "acquire", acquire_and_record)
    return counts


def test_a_bucket_grants_no_more_tokens_than_it_has() -> None:
    limit = _limit(burst=10)

    assert _acquire(limit, 4) == (4, 6.0)
    assert _acquire(limit, 4) == (4, 2.0)
    assert _acquire(limit, 4) == (2, 0.0)
    assert _acquire(limit, 4) == (0, 0.0)
    assert _acquire(_limit(burst=3), 4) == (3, 0.0)


def test_a_bucket_refills_over_time_up_to_its_burst() -> None:
    limit = _limit(rate=0.01, burst=10)
    assert _acquire(limit, 10)[0] == 10

    _advance_time(limit, 310)
    assert _acquire(limit, 10)[0] == 3
    _advance_time(limit, 100_000)
    assert _acquire(limit, 20)[0] == 10


def test_a_bucket_with_an_impossible_fill_time_is_reset() -> None:
    limit = _limit(rate=1, burst=10)
    assert _acquire(limit, 10)[0] == 10

    _advance_time(limit, -3_600)

    assert _acquire(limit, 4) == (4, 6.0)


def test_a_higher_limit_takes_effect_immediately() -> None:
    low = _limit(rate=0.01, burst=10)
    assert _acquire(low, 10)[0] == 10

    assert _acquire(Limit("key", low.bucket_id, 100, 500), 5)[0] == 5


def test_the_cleanup_deletes_only_full_buckets() -> None:
    full, partly_spent = _limit(burst=10), _limit(burst=10)
    for limit in (full, partly_spent):
        _acquire(limit, 5)
    _advance_time(full, 10_000)

    with app_services().database.connection() as connection:
        assert buckets.delete_full(connection) >= 1

    count = "SELECT count(*) FROM public.rate_buckets WHERE id = %(id)s"
    assert (_sql(count, full), _sql(count, partly_spent)) == ((0,), (1,))


def test_the_cleanup_skips_locked_buckets(database_url: str) -> None:
    limit = _limit(burst=10)
    _acquire(limit, 5)
    _advance_time(limit, 10_000)
    locking_query = f"SELECT 1 FROM public.rate_buckets WHERE id = '{limit.bucket_id}' FOR UPDATE"

    with (
        locks.open_transaction(database_url, locking_query),
        app_services().database.connection() as connection,
    ):
        buckets.delete_full(connection)

    assert _sql("SELECT 1 FROM public.rate_buckets WHERE id = %(id)s", limit)


def test_concurrent_processes_spend_exactly_the_tokens_of_the_bucket() -> None:
    key, tenant = _limit(burst=10_000), _limit("tenant", burst=100)

    def spend_all(cache: TokenCache) -> int:
        return sum(_spend_token(cache, key, tenant) for _ in range(110))

    spent_counts = run_concurrently(
        [partial(spend_all, _cache_with_stopped_clock()) for _ in range(PROCESS_COUNT)]
    )

    assert sum(spent_counts) == 100


def test_concurrent_processes_do_not_exceed_the_refill_rate() -> None:
    limit = _limit(rate=200, burst=40)
    clock_query = "SELECT extract(epoch FROM clock_timestamp())::float8"

    def spend_repeatedly(cache: TokenCache) -> int:
        return sum(_spend_token(cache, limit) for _ in range(150))

    [started_s] = _sql(clock_query, limit) or ()
    spent_counts = run_concurrently(
        [partial(spend_repeatedly, TokenCache()) for _ in range(PROCESS_COUNT)]
    )
    [ended_s] = _sql(clock_query, limit) or ()

    unspent_tokens = PROCESS_COUNT * (limit.burst // token_cache.MAX_SHARE_DIVISOR)
    assert sum(spent_counts) >= limit.burst - unspent_tokens
    assert sum(spent_counts) <= limit.burst + limit.rate_per_s * (ended_s - started_s)


def test_threads_of_one_process_spend_no_more_tokens_than_it_acquired() -> None:
    limit, cache = _limit(burst=60), _cache_with_stopped_clock()

    spent_counts = run_concurrently(
        [lambda: sum(_spend_token(cache, limit) for _ in range(70))] * 8
    )

    assert sum(spent_counts) == 60


def test_only_a_busy_process_prefetches_tokens(
    requested_counts: list[int],
) -> None:
    clock, limit = Clock(), _limit(burst=1_000)
    cache = TokenCache(now=clock)

    for _ in range(60):
        assert _spend_token(cache, limit)
    busy_counts = list(requested_counts)
    for _ in range(3):
        clock.now_s += 60
        assert _spend_token(cache, limit)

    assert busy_counts == [1, 50, 50]
    assert requested_counts[len(busy_counts) + 1 :] == [1, 1]


def test_a_process_acquires_at_most_a_fixed_share_of_a_bucket(requested_counts: list[int]) -> None:
    limit, cache = _limit(burst=100), _cache_with_stopped_clock()

    while _spend_token(cache, limit):
        pass

    assert max(requested_counts) == limit.burst // token_cache.MAX_SHARE_DIVISOR


def test_prefetched_tokens_expire(requested_counts: list[int]) -> None:
    clock, limit = Clock(), _limit(burst=1_000)
    cache = TokenCache(now=clock)
    for _ in range(4):
        _spend_token(cache, limit)
    assert requested_counts == [1, 50]  # the cache has 47 tokens left

    clock.now_s = token_cache.BATCH_LIFETIME_S
    _spend_token(cache, limit)

    assert requested_counts == [1, 50, 1]


def test_an_empty_bucket_is_not_queried_before_it_can_have_a_token(
    requested_counts: list[int],
) -> None:
    clock, limit = Clock(), _limit(rate=0.1, burst=1)
    cache = TokenCache(now=clock)
    assert _spend_token(cache, limit)
    assert not _spend_token(cache, limit)
    query_count = len(requested_counts)

    clock.now_s = 9.0
    assert not _spend_token(cache, limit)
    assert len(requested_counts) == query_count
    clock.now_s = 11.0
    _advance_time(limit, 11)

    assert _spend_token(cache, limit)


def test_a_request_that_exceeds_one_limit_spends_no_token_of_the_other() -> None:
    key, tenant, cache = _limit(burst=10), _limit("tenant", burst=3), _cache_with_stopped_clock()

    assert [_spend_token(cache, key, tenant) for _ in range(5)] == [True, True, True, False, False]

    assert sum(_spend_token(cache, key) for _ in range(20)) == 7


def test_a_rejection_names_the_exceeded_limit_and_the_time_to_retry() -> None:
    key, tenant, cache = (
        _limit(burst=10),
        _limit("tenant", rate=0.1, burst=2),
        _cache_with_stopped_clock(),
    )
    for _ in range(2):
        _spend_token(cache, key, tenant)

    with app_services().database.connection() as connection, pytest.raises(RateLimited) as error:
        cache.spend(connection, [key, tenant])

    assert error.value.limit is tenant
    assert 1 <= (error.value.retry_after_s or 0) <= 10
    [exceeded, other] = error.value.limit_statuses
    assert (exceeded.limit, exceeded.remaining, exceeded.reset_s) == (
        tenant,
        0,
        error.value.retry_after_s,
    )
    assert (other.limit, other.remaining) == (key, 8)


def test_the_token_cache_prunes_expired_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "_PRUNE_ABOVE", 20)
    clock = Clock()
    cache = TokenCache(now=clock)

    for _ in range(100):
        clock.now_s += token_cache.BATCH_LIFETIME_S
        _spend_token(cache, _limit())

    assert len(cache._batches) <= 20


def test_a_process_deletes_full_buckets_once_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    cleanups: list[object] = []
    monkeypatch.setattr(buckets, "delete_full", cleanups.append)
    clock = Clock()
    cache = TokenCache(now=clock)

    for _ in range(10):
        _spend_token(cache, _limit())
    assert cleanups == []
    clock.now_s = token_cache.CLEANUP_INTERVAL_S
    for _ in range(10):
        _spend_token(cache, _limit())

    assert len(cleanups) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.rate_buckets",
        "DELETE FROM public.rate_buckets",
        f"SELECT public.draw_tokens(ARRAY['{uuid4()}']::uuid[], ARRAY[1.0], ARRAY[1], ARRAY[1])",
    ],
)
def test_a_tenant_transaction_cannot_access_token_buckets(acme: Tenant, statement: str) -> None:
    with (
        pytest.raises(DBAPIError) as error,
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.execute(text(statement))

    assert db.sqlstate(error.value) == "42501"
