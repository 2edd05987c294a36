"""The notifications that the thread of a request waits, and that it works again."""

from collections.abc import Iterator

import pytest

from vca.kit.web import request_thread


@pytest.fixture
def events() -> Iterator[list[str]]:
    """Serve a request, and return the notifications that the server gets."""
    events: list[str] = []
    with request_thread.serving_request(
        lambda: events.append("waits"), lambda: events.append("works")
    ):
        yield events


def test_each_wait_of_a_request_begins_and_ends(events: list[str]) -> None:
    for _ in range(2):
        request_thread.begin_waiting()
        request_thread.end_waiting()

    assert events == ["waits", "works"] * 2


def test_a_wait_inside_another_one_changes_nothing(events: list[str]) -> None:
    request_thread.begin_waiting()
    request_thread.begin_waiting()
    request_thread.end_waiting()
    assert events == ["waits"]

    request_thread.end_waiting()
    assert events == ["waits", "works"]


def test_the_end_of_no_wait_changes_nothing(events: list[str]) -> None:
    request_thread.end_waiting()

    assert events == []


def test_outside_of_a_request_there_is_no_notification() -> None:
    request_thread.begin_waiting()
    request_thread.end_waiting()
