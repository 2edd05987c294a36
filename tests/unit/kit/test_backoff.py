"""The back-off of repeated attempts, and the waiting time that a server asks for."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vca.kit.backoff import BackOff, parse_retry_after_s


@given(
    delays_s=st.lists(st.floats(0.1, 1e5), min_size=1, max_size=12),
    jitter=st.floats(0, 1),
    failures=st.integers(1, 30),
)
def test_a_delay_differs_from_its_number_by_the_jitter_at_most(
    delays_s: list[float], jitter: float, failures: int
) -> None:
    back_off = BackOff(tuple(delays_s), jitter=jitter)

    delay_s = back_off.delay_s(failures)

    expected_s = delays_s[min(failures, len(delays_s)) - 1]
    assert abs(delay_s - expected_s) <= expected_s * jitter + 1e-9 * expected_s
    assert back_off.allows_retry(failures) is (failures <= len(delays_s))


def test_delays_vary() -> None:
    back_off = BackOff((100,))

    delays_s = [back_off.delay_s(1) for _ in range(50)]

    assert len(set(delays_s)) > 25
    assert all(80 <= delay_s <= 120 for delay_s in delays_s)


def test_a_longer_wait_that_the_server_asks_for_is_respected() -> None:
    back_off = BackOff((5, 300), jitter=0)

    assert back_off.delay_s(1, at_least_s=60) == 60
    assert back_off.delay_s(2, at_least_s=60) == 300
    assert back_off.delay(2) == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("999999999", 3600),
        ("9999999999", None),
        *((text, None) for text in ("", "-1", "1.5", "٣", "1e3", "Fri, 31 Dec 1999 23:59:59 GMT")),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds(header: str | None, seconds: int | None) -> None:
    assert parse_retry_after_s(header, max_s=3600) == seconds
