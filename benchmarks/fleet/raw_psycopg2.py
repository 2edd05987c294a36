"""psycopg2 without the product's wait callback, for the baselines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions


@contextmanager
def without_wait_callback() -> Iterator[None]:
    """Let psycopg2 wait in C, in this process, until the block ends."""
    wait_callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        yield
    finally:
        extensions.set_wait_callback(wait_callback)


@contextmanager
def autocommit_cursor(dsn: str) -> Iterator[Any]:
    """Open a cursor in autocommit mode on a new connection."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as open_cursor:
            yield open_cursor
    finally:
        connection.close()
