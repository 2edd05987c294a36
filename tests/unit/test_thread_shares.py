"""The shares of a process's threads."""

import pytest

from vca.thread_shares import ThreadShares

DEFAULT = ThreadShares(working=8, reserved=2, rejections=8, calling_out=8, calling_out_per_tenant=4)


def test_the_default_shares_are_those_of_the_readme() -> None:
    assert (DEFAULT.total, DEFAULT.ordinary) == (32, 14)
    assert (DEFAULT.slow_bodies, DEFAULT.slow_clients) == (4, 2)


@pytest.mark.parametrize("working", [6, 8, 16, 64, 256])
@pytest.mark.parametrize("rejections", [0, 8, 256])
@pytest.mark.parametrize("calling_out", [8, 100])
def test_slow_bodies_take_at_most_a_quarter_of_the_threads(
    working: int, rejections: int, calling_out: int
) -> None:
    shares = ThreadShares(working, 2, rejections, calling_out, 4)

    assert (shares.slow_bodies + shares.slow_clients) * 4 <= shares.total


@pytest.mark.parametrize("working", [3, 8, 256])
@pytest.mark.parametrize("rejections", [0, 8])
@pytest.mark.parametrize("calling_out", [1, 8])
def test_the_reserved_threads_are_free_when_all_others_are_in_use(
    working: int, rejections: int, calling_out: int
) -> None:
    shares = ThreadShares(working, 2, rejections, calling_out, 1)

    in_use = shares.ordinary + calling_out + shares.slow_bodies + 2 * shares.slow_clients

    assert shares.total - in_use == shares.reserved


@pytest.mark.parametrize(
    ("shares", "beginnings"),
    [
        (DEFAULT, []),
        (ThreadShares(2, 2, 8, 8, 4), ["RESERVED_THREADS is 2, but WEB_THREADS is only 2"]),
        (ThreadShares(8, 2, 8, 2, 4), ["CALLING_OUT_PER_TENANT is 4, but CALLING_OUT_THREADS"]),
    ],
)
def test_shares_that_do_not_fit_together_are_errors(
    shares: ThreadShares, beginnings: list[str]
) -> None:
    errors = shares.errors()

    assert len(errors) == len(beginnings)
    assert all(
        error.startswith(beginning) for error, beginning in zip(errors, beginnings, strict=True)
    )
