"""psycopg2 alone, without the product's watch over its waits: what the product stands beside."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions


@contextmanager
def without_wait_callback() -> Iterator[None]:
    """psycopg2 waits in C again, in this process, until the block ends."""
    wait_callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        yield
    finally:
        extensions.set_wait_callback(wait_callback)


@contextmanager
def autocommit_cursor(dsn: str) -> Iterator[Any]:
    """A cursor in autocommit on a connection of its own."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as open_cursor:
            yield open_cursor
    finally:
        connection.close()
