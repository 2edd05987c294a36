"""Places of a process: how many are taken at once, and by one owner."""

from collections.abc import Callable

import pytest

from vca.kit.admission import Admission, AdmissionObserver, Busy


def _take(places: Admission, owners: list[str]) -> list[Callable[[], None] | str]:
    """Take a place for each owner; return how to give it back, or the code of the refusal."""
    results: list[Callable[[], None] | str] = []
    for owner in owners:
        try:
            results.append(places.take(owner))
        except Busy as error:
            results.append(error.problem_code)
    return results


def test_no_more_places_are_taken_than_there_are() -> None:
    places = Admission("work", places=2, refusal="All in use.")

    results = _take(places, ["acme", "globex", "initech"])

    assert results[2] == "busy"
    assert places.in_use == 2


def test_one_owner_leaves_places_for_others() -> None:
    places = Admission("work", places=3, places_per_owner=2, refusal="All in use.")

    results = _take(places, ["acme", "acme", "acme", "globex"])

    assert results[2] == "busy"
    assert callable(results[3])


def test_a_place_that_was_given_back_is_free_again_once() -> None:
    places = Admission("work", places=1, refusal="All in use.")

    give_back = places.take("acme")
    give_back()
    give_back()
    places.take("globex")

    assert places.in_use == 1
    with pytest.raises(Busy):
        places.take("acme")


def test_a_block_that_raises_gives_its_place_back() -> None:
    places = Admission("work", places=1, refusal="All in use.")

    with pytest.raises(ValueError, match="failed"), places.place("acme"):
        raise ValueError("failed")

    assert places.in_use == 0


def test_a_refusal_names_its_limit_and_when_to_retry() -> None:
    places = Admission("work", places=0, refusal="All in use.")

    with pytest.raises(Busy) as refusal:
        places.take("acme")

    assert (refusal.value.status, refusal.value.code) == (429, "busy")
    assert refusal.value.members == {"limit": "busy"}
    assert refusal.value.retry_after_s == 1


def test_refusals_and_use_are_observed() -> None:
    observed: list[tuple[str, int]] = []
    observer = AdmissionObserver(
        on_refusal=lambda name: observed.append((name, 0)),
        on_use=lambda name, change: observed.append((name, change)),
    )
    places = Admission("work", places=1, refusal="All in use.", observer=observer)

    with places.place("acme"), pytest.raises(Busy):
        places.take("acme")

    assert observed == [("work", 1), ("work", 0), ("work", -1)]
