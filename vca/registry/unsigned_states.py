"""Whether states of carriers that we have not signed are accepted.

The previous release gave carriers unsigned states. They are accepted for 15 minutes from the first
start of a process that signs, once in the life of a database.
"""

import time
from threading import Thread

import psycopg2
from sqlalchemy.exc import DBAPIError

from vca.kit import db
from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.services import Services
from vca.tenancy.session import public_connection

_ACCEPT = "SELECT public.accept_unsigned_states()"
# A process may start before the database is there or upgraded.
_PAUSE_AFTER_FAILURE_S = 15.0


def are_accepted(*, services: Services) -> bool:
    """Return whether the 15 minutes are not over; start them if no process has.

    Raises DatabaseFailure.
    """
    with public_connection(database=services.database) as connection:
        row = db.fetch_one(connection, _ACCEPT, {})
    return row is not None and bool(row[0])


def record_start(*, services: Services) -> None:
    """Start the 15 minutes in the background, unless another process has."""
    Thread(
        target=_record_until_done,
        kwargs={"services": services},
        name="unsigned-states",
        daemon=True,
    ).start()


def _record_until_done(*, services: Services) -> None:
    while True:
        try:
            are_accepted(services=services)
        except (DatabaseFailure, DBAPIError, psycopg2.Error) as error:
            log.get_logger().warning("unsigned_states.start_not_recorded", exc_info=error)
            time.sleep(_PAUSE_AFTER_FAILURE_S)
        else:
            return
