"""The store of recordings with a will of its own."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.support.recorded import Failing
from vca.kit import storage


@pytest.fixture
def store(app: Flask) -> Iterator[Failing]:
    """The process's store, which fails from here on when it is told to."""
    before = storage.current_store()
    failing = Failing(before)
    storage.set_current_store(failing)
    yield failing
    storage.set_current_store(before)
