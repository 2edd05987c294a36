"""The limit of open files, and the connections that follow from it."""

import resource
from collections.abc import Iterator

import pytest

from vca.servers import open_files


@pytest.fixture
def hard_limit() -> Iterator[int]:
    """Let the process open few files at first, and restore its limits afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    yield limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_is_raised_as_far_as_the_system_allows(hard_limit: int) -> None:
    allowed = 65_536 if hard_limit == resource.RLIM_INFINITY else min(hard_limit, 65_536)

    assert open_files.raise_limit() == allowed
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, hard_limit)
    assert open_files.raise_limit() == allowed


@pytest.mark.parametrize(
    ("limit", "connections"), [(65_536, 1_000), (1_256, 1_000), (1_024, 768), (256, 1), (20, 1)]
)
def test_connections_leave_some_files_for_everything_else(limit: int, connections: int) -> None:
    assert open_files.max_connections(limit, 1_000) == connections
