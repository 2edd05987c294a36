"""Check the models in the background of a server process, so that no caller waits for it."""

import time
from datetime import timedelta
from threading import Thread

import psycopg2
from sqlalchemy.exc import DBAPIError

from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.registry.model_checks import service
from vca.services import Services

_PAUSE_S = 300.0
# A process may start before the database is there or upgraded.
_PAUSE_AFTER_FAILURE_S = 15.0


def start(*, services: Services) -> None:
    """Check the models now, and again in intervals for as long as the process lives."""
    Thread(
        target=_check_forever, kwargs={"services": services}, name="model-checks", daemon=True
    ).start()


def _check_forever(*, services: Services) -> None:
    min_age = service.MIN_AGE_AT_START
    while True:
        is_checked = check_once(min_age=min_age, services=services)
        if is_checked:
            min_age = service.RECHECK_AFTER
        time.sleep(_PAUSE_S if is_checked else _PAUSE_AFTER_FAILURE_S)


def check_once(*, min_age: timedelta, services: Services) -> bool:
    """Check the due models, and return whether the database could say which ones are due."""
    try:
        service.check_due_models(min_age=min_age, services=services)
    except (DatabaseFailure, DBAPIError, psycopg2.Error) as error:
        log.get_logger().warning("model.check_failed", exc_info=error)
        return False
    return True
