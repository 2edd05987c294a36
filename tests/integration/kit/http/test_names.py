"""Names: a name service that hangs takes neither its request's time nor threads without end."""

from collections import Counter
from ipaddress import ip_address
from threading import Event

import pytest

from tests.support.processes import wait_until
from vca.kit.http import RequestTimeout, Resolver, Unreachable
from vca.kit.http.deadline import request_deadline

PATIENCE_S = 20.0


class Service:
    """A name service that answers once it is released, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.release = Event()

    def __call__(self, name: str) -> list[str]:
        self.asked[name] += 1
        assert self.release.wait(PATIENCE_S)
        return ["8.8.8.8"]


def _too_slow(names: Resolver, name: str, timeout_s: float = 0.05) -> str:
    with request_deadline(timeout_s), pytest.raises(RequestTimeout) as raised:
        names.resolve(name)
    return str(raised.value)


def test_all_addresses_of_a_name_are_told_in_their_order() -> None:
    names = Resolver(lambda name: ["2606:4700::1111", "fe80::1%eth0", "8.8.8.8"])

    with request_deadline(PATIENCE_S):
        found = names.resolve("example.com")

    assert found == tuple(map(ip_address, ("2606:4700::1111", "fe80::1%eth0", "8.8.8.8")))


def test_the_systems_own_names_are_known() -> None:
    with request_deadline(PATIENCE_S):
        assert any(address.is_loopback for address in Resolver().resolve("localhost"))


@pytest.mark.parametrize("failure", [OSError("unknown"), UnicodeError("odd"), ValueError("odd")])
def test_a_name_that_is_unknown_is_worth_another_try(failure: Exception) -> None:
    def unknown(name: str) -> list[str]:
        raise failure

    for lookup in (unknown, lambda name: []):
        with request_deadline(PATIENCE_S), pytest.raises(Unreachable) as raised:
            Resolver(lookup).resolve("example.com")
        assert not isinstance(raised.value, RequestTimeout)


def test_a_name_service_that_hangs_is_left_behind_and_asked_once_for_a_name() -> None:
    service = Service()
    names = Resolver(service)

    for _ in range(5):
        assert "in time" in _too_slow(names, "dead.example")

    assert service.asked == {"dead.example": 1}
    service.release.set()


def test_look_ups_that_hang_are_bounded_and_come_free_again() -> None:
    service = Service()
    names = Resolver(service, max_lookups=3)

    for number in range(3):
        assert "in time" in _too_slow(names, f"{number}.dead.example")
    assert "Too many" in _too_slow(names, "other.example", PATIENCE_S)
    service.release.set()

    def free() -> bool:
        try:
            with request_deadline(PATIENCE_S):
                return bool(names.resolve("other.example"))
        except RequestTimeout:
            return False

    assert wait_until(free)
    assert sum(service.asked.values()) == 4


def test_an_answer_is_not_kept_for_the_next_request() -> None:
    service = Service()
    service.release.set()
    names = Resolver(service)

    for times in (1, 2, 3):
        with request_deadline(PATIENCE_S):
            names.resolve("example.com")
        assert service.asked["example.com"] == times
