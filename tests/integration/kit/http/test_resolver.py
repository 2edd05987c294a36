"""Tests of the resolver: results, errors, and limits on the time and number of lookups."""

from collections import Counter
from ipaddress import ip_address
from threading import Event

import pytest

from tests.support.processes import wait_until
from vca.kit.deadline import Deadline
from vca.kit.http import RequestTimeout, Resolver, Unreachable

TIMEOUT_S = 20.0


class FakeNameService:
    """A name service that responds once it is released, and counts the lookups of each name."""

    def __init__(self) -> None:
        self.lookups: Counter[str] = Counter()
        self.release = Event()

    def __call__(self, name: str) -> list[str]:
        self.lookups[name] += 1
        assert self.release.wait(TIMEOUT_S)
        return ["8.8.8.8"]


def _resolve_too_late(resolver: Resolver, name: str, timeout_s: float = 0.05) -> str:
    with pytest.raises(RequestTimeout) as raised:
        resolver.resolve(name, Deadline.after(timeout_s))
    return str(raised.value)


def test_all_addresses_of_a_name_are_returned_in_order() -> None:
    resolver = Resolver(lambda name: ["2606:4700::1111", "fe80::1%eth0", "8.8.8.8"])

    addresses = resolver.resolve("example.com", Deadline.after(TIMEOUT_S))

    assert addresses == tuple(map(ip_address, ("2606:4700::1111", "fe80::1%eth0", "8.8.8.8")))


def test_names_of_the_system_are_resolved() -> None:
    addresses = Resolver().resolve("localhost", Deadline.after(TIMEOUT_S))

    assert any(address.is_loopback for address in addresses)


@pytest.mark.parametrize("failure", [OSError("unknown"), UnicodeError("odd"), ValueError("odd")])
def test_an_unknown_name_is_a_retryable_error(failure: Exception) -> None:
    def fail(name: str) -> list[str]:
        raise failure

    def return_nothing(name: str) -> list[str]:
        return []

    for lookup in (fail, return_nothing):
        with pytest.raises(Unreachable) as raised:
            Resolver(lookup).resolve("example.com", Deadline.after(TIMEOUT_S))
        assert not isinstance(raised.value, RequestTimeout)


def test_a_hanging_name_service_is_queried_once_for_a_name() -> None:
    name_service = FakeNameService()
    resolver = Resolver(name_service)

    for _ in range(5):
        assert "in time" in _resolve_too_late(resolver, "dead.example")

    assert name_service.lookups == {"dead.example": 1}
    name_service.release.set()


def test_hanging_lookups_are_limited_until_they_end() -> None:
    name_service = FakeNameService()
    resolver = Resolver(name_service, max_lookups=3)

    for number in range(3):
        assert "in time" in _resolve_too_late(resolver, f"{number}.dead.example")
    assert "Too many" in _resolve_too_late(resolver, "other.example", TIMEOUT_S)
    name_service.release.set()

    def is_available() -> bool:
        try:
            return bool(resolver.resolve("other.example", Deadline.after(TIMEOUT_S)))
        except RequestTimeout:
            return False

    assert wait_until(is_available)
    assert sum(name_service.lookups.values()) == 4


def test_lookup_results_are_not_cached() -> None:
    name_service = FakeNameService()
    name_service.release.set()
    resolver = Resolver(name_service)

    for count in (1, 2, 3):
        resolver.resolve("example.com", Deadline.after(TIMEOUT_S))
        assert name_service.lookups["example.com"] == count
