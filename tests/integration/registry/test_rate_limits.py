"""Buckets of tokens, by the database's clock; and tokens in hand, which were taken before."""

from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tests.support import locks
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from vca.kit import db
from vca.registry.rate_limits import buckets, token_cache
from vca.registry.rate_limits.buckets import Limit
from vca.registry.rate_limits.token_cache import RateLimited, TokenCache
from vca.tenancy.session import tenant_session

pytestmark = pytest.mark.usefixtures("app")

# So slow that no test sees a token come by itself.
STILL = 0.001
PROCESSES = 12


def _limit(name: str = "key", *, rate: float = STILL, burst: int = 100) -> Limit:
    return Limit(name, uuid4(), rate, burst)


def _draw(limit: Limit, wanted: int) -> tuple[int, float]:
    with db.current_database().connection() as connection:
        [drawn] = buckets.acquire(connection, [(limit, wanted)])
    return drawn.granted, round(drawn.remaining, 1)


def _sql(statement: str, limit: Limit) -> tuple[float, ...] | None:
    with db.current_database().connection() as connection:
        return db.fetch_one(connection, statement, {"id": limit.bucket_id.hex})


def _pass(limit: Limit, seconds: float) -> None:
    """As if so much time had passed since the bucket was drawn from."""
    earlier = f"full_at = full_at - make_interval(secs => {seconds})"
    assert _sql(f"UPDATE public.rate_buckets SET {earlier} WHERE id = %(id)s RETURNING 1", limit)


def _spend(held: TokenCache, *limits: Limit) -> bool:
    with db.current_database().connection() as connection:
        try:
            held.spend(connection, limits)
        except RateLimited:
            return False
    return True


def _stopped() -> TokenCache:
    """A process for which no time passes."""
    return TokenCache(now=lambda: 0.0)


class Clock:
    """A process's clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens were wanted of the database, draw by draw."""
    wanted: list[int] = []
    draw = buckets.acquire

    def counted(
        connection: Connection, wishes: list[tuple[Limit, int]]
    ) -> list[buckets.TokenGrant]:
        wanted.append(sum(each for _, each in wishes))
        return draw(connection, wishes)

    monkeypatch.setattr(buckets, "acquire", counted)
    return wanted


# --- In the database ----------------------------------------------------------------------------


def test_a_bucket_gives_what_it_holds_and_no_more() -> None:
    limit = _limit(burst=10)

    assert _draw(limit, 4) == (4, 6.0)
    assert _draw(limit, 4) == (4, 2.0)
    assert _draw(limit, 4) == (2, 0.0)
    assert _draw(limit, 4) == (0, 0.0)
    assert _draw(_limit(burst=3), 4) == (3, 0.0)


def test_a_bucket_fills_with_time_up_to_its_burst() -> None:
    limit = _limit(rate=0.01, burst=10)
    assert _draw(limit, 10)[0] == 10

    _pass(limit, 310)
    assert _draw(limit, 10)[0] == 3
    _pass(limit, 100_000)
    assert _draw(limit, 20)[0] == 10


def test_a_bucket_that_only_another_clock_or_limit_can_have_filled_begins_anew() -> None:
    limit = _limit(rate=1, burst=10)
    assert _draw(limit, 10)[0] == 10

    _pass(limit, -3_600)

    assert _draw(limit, 4) == (4, 6.0)


def test_a_higher_limit_holds_at_once() -> None:
    low = _limit(rate=0.01, burst=10)
    assert _draw(low, 10)[0] == 10

    assert _draw(Limit("key", low.bucket_id, 100, 500), 5)[0] == 5


def test_what_is_full_is_swept_and_what_is_not_is_kept() -> None:
    full, spent = _limit(burst=10), _limit(burst=10)
    for limit in (full, spent):
        _draw(limit, 5)
    _pass(full, 10_000)

    with db.current_database().connection() as connection:
        assert buckets.delete_full(connection) >= 1

    kept = "SELECT count(*) FROM public.rate_buckets WHERE id = %(id)s"
    assert (_sql(kept, full), _sql(kept, spent)) == ((0,), (1,))


def test_a_sweep_waits_for_nobody_who_draws(database_url: str) -> None:
    limit = _limit(burst=10)
    _draw(limit, 5)
    _pass(limit, 10_000)
    drawing = f"SELECT 1 FROM public.rate_buckets WHERE id = '{limit.bucket_id}' FOR UPDATE"

    with (
        locks.open_transaction(database_url, drawing),
        db.current_database().connection() as connection,
    ):
        buckets.delete_full(connection)

    assert _sql("SELECT 1 FROM public.rate_buckets WHERE id = %(id)s", limit)


# --- In hand ------------------------------------------------------------------------------------


def test_processes_that_ask_at_once_spend_all_that_is_there_and_never_more() -> None:
    key, tenant = _limit(burst=10_000), _limit("tenant", burst=100)

    def spend_all(held: TokenCache) -> int:
        return sum(_spend(held, key, tenant) for _ in range(110))

    spent = run_concurrently([partial(spend_all, _stopped()) for _ in range(PROCESSES)])

    assert sum(spent) == 100


def test_while_tokens_come_no_more_are_spent_than_came() -> None:
    limit = _limit(rate=200, burst=40)
    clock = "SELECT extract(epoch FROM clock_timestamp())::float8"

    def spend_on(held: TokenCache) -> int:
        return sum(_spend(held, limit) for _ in range(150))

    [began_s] = _sql(clock, limit) or ()
    spent = run_concurrently([partial(spend_on, TokenCache()) for _ in range(PROCESSES)])
    [ended_s] = _sql(clock, limit) or ()

    left_in_hand = PROCESSES * (limit.burst // token_cache.MAX_SHARE_DIVISOR)
    assert sum(spent) >= limit.burst - left_in_hand
    assert sum(spent) <= limit.burst + limit.rate_per_s * (ended_s - began_s)


def test_threads_of_one_process_spend_no_more_than_it_drew() -> None:
    limit, held = _limit(burst=60), _stopped()

    spent = run_concurrently([lambda: sum(_spend(held, limit) for _ in range(70))] * 8)

    assert sum(spent) == 60


def test_a_process_that_spends_much_draws_ahead_and_one_that_does_not_draws_one(
    draws: list[int],
) -> None:
    clock, limit = Clock(), _limit(burst=1_000)
    held = TokenCache(now=clock)

    for _ in range(60):
        assert _spend(held, limit)
    busy = list(draws)
    for _ in range(3):
        clock.now_s += 60
        assert _spend(held, limit)

    assert busy == [1, 2, 4, 8, 16, 32]
    assert draws[len(busy) + 1 :] == [1, 1]


def test_no_process_takes_more_than_a_small_part_of_a_bucket(draws: list[int]) -> None:
    limit, held = _limit(burst=100), _stopped()

    while _spend(held, limit):
        pass

    assert max(draws) == limit.burst // token_cache.MAX_SHARE_DIVISOR


def test_what_is_not_spent_in_time_is_not_spent_later(draws: list[int]) -> None:
    clock, limit = Clock(), _limit(burst=1_000)
    held = TokenCache(now=clock)
    for _ in range(4):
        _spend(held, limit)
    assert draws == [1, 2, 4]  # three are in hand

    clock.now_s = token_cache.BATCH_LIFETIME_S
    _spend(held, limit)

    assert len(draws) == 4


def test_an_empty_bucket_is_not_asked_before_it_can_have_a_token(draws: list[int]) -> None:
    clock, limit = Clock(), _limit(rate=0.1, burst=1)
    held = TokenCache(now=clock)
    assert _spend(held, limit)
    assert not _spend(held, limit)
    asked = len(draws)

    clock.now_s = 9.0
    assert not _spend(held, limit)
    assert len(draws) == asked
    clock.now_s = 11.0
    _pass(limit, 11)

    assert _spend(held, limit)


def test_a_request_that_one_limit_refuses_costs_the_other_nothing() -> None:
    key, tenant, held = _limit(burst=10), _limit("tenant", burst=3), _stopped()

    assert [_spend(held, key, tenant) for _ in range(5)] == [True, True, True, False, False]

    assert sum(_spend(held, key) for _ in range(20)) == 7


def test_the_refusal_names_the_limit_and_when_to_come_back() -> None:
    key, tenant, held = _limit(burst=10), _limit("tenant", rate=0.1, burst=2), _stopped()
    for _ in range(2):
        _spend(held, key, tenant)

    with db.current_database().connection() as connection, pytest.raises(RateLimited) as refused:
        held.spend(connection, [key, tenant])

    assert refused.value.limit is tenant
    assert 1 <= (refused.value.retry_after_s or 0) <= 10
    [met, other] = refused.value.limit_statuses
    assert (met.limit, met.remaining, met.reset_s) == (tenant, 0, refused.value.retry_after_s)
    assert (other.limit, other.remaining) == (key, 8)


def test_a_process_does_not_keep_what_it_no_longer_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "_PRUNE_ABOVE", 20)
    clock = Clock()
    held = TokenCache(now=clock)

    for _ in range(100):
        clock.now_s += token_cache.BATCH_LIFETIME_S
        _spend(held, _limit())

    assert len(held._batches) <= 20


def test_a_process_sweeps_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[object] = []
    monkeypatch.setattr(buckets, "delete_full", swept.append)
    clock = Clock()
    held = TokenCache(now=clock)

    for _ in range(10):
        _spend(held, _limit())
    assert swept == []
    clock.now_s = token_cache.CLEANUP_INTERVAL_S
    for _ in range(10):
        _spend(held, _limit())

    assert len(swept) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.rate_buckets",
        "DELETE FROM public.rate_buckets",
        f"SELECT public.draw_tokens(ARRAY['{uuid4()}']::uuid[], ARRAY[1.0], ARRAY[1], ARRAY[1])",
    ],
)
def test_a_tenants_transaction_can_neither_see_buckets_nor_empty_one(
    acme: Tenant, statement: str
) -> None:
    with pytest.raises(DBAPIError) as refused, tenant_session(acme.ref) as session:
        session.execute(text(statement))

    assert db.sqlstate(refused.value) == "42501"
