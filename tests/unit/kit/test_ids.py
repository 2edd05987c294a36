"""Ids in the order of their making."""

from datetime import UTC, datetime, timedelta

from vca.kit import ids

NOW = datetime(2030, 1, 1, 12, 30, 15, 999_998, tzinfo=UTC)


def test_the_later_one_is_greater_down_to_the_microsecond() -> None:
    moments = [NOW + timedelta(microseconds=count) for count in range(2_500)]

    made = [ids.uuid7(moment) for moment in moments]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_it_is_a_uuid_of_version_7_that_says_when_it_was_made() -> None:
    made = ids.uuid7(NOW)

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(NOW.timestamp() * 1_000)


def test_two_of_the_same_moment_differ() -> None:
    assert ids.uuid7(NOW) != ids.uuid7(NOW)
