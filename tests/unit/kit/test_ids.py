"""Tests of ids in order of their creation."""

from datetime import UTC, datetime, timedelta

from vca.kit import ids

NOW = datetime(2030, 1, 1, 12, 30, 15, 999_998, tzinfo=UTC)


def test_ids_are_ordered_by_time_in_microseconds() -> None:
    moments = [NOW + timedelta(microseconds=count) for count in range(2_500)]

    ordered_ids = [ids.uuid7(moment) for moment in moments]

    assert ordered_ids == sorted(ordered_ids)
    assert len(set(ordered_ids)) == len(ordered_ids)


def test_an_id_is_a_version_7_uuid_with_its_time_in_milliseconds() -> None:
    new_id = ids.uuid7(NOW)

    assert (new_id.version, new_id.variant) == (7, "specified in RFC 4122")
    assert new_id.int >> 80 == int(NOW.timestamp() * 1_000)


def test_two_ids_of_the_same_moment_differ() -> None:
    assert ids.uuid7(NOW) != ids.uuid7(NOW)
