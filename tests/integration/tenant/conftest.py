"""The store of recordings with a will of its own."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.support.recordings import FailingStore
from vca.kit import storage


@pytest.fixture
def failing_store(app: Flask) -> Iterator[FailingStore]:
    """The process's store, which fails from here on when it is told to."""
    previous_store = storage.current_store()
    wrapped_store = FailingStore(previous_store)
    storage.set_current_store(wrapped_store)
    yield wrapped_store
    storage.set_current_store(previous_store)
