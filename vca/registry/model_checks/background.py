"""Check the models in the background of a server process, so that no caller waits for it."""

import time
from datetime import timedelta
from threading import Thread

import psycopg2
from sqlalchemy.exc import DBAPIError

from vca.conversation.llm.models import Models
from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.registry.model_checks import service

_PAUSE_S = 300.0
# A process may start before the database is there or upgraded.
_PAUSE_AFTER_FAILURE_S = 15.0


def start(models: Models) -> None:
    """Check the models now, and again in intervals for as long as the process lives."""
    Thread(target=_check_forever, args=(models,), name="model-checks", daemon=True).start()


def _check_forever(models: Models) -> None:
    min_age = service.MIN_AGE_AT_START
    while True:
        is_checked = check_once(models, min_age=min_age)
        if is_checked:
            min_age = service.RECHECK_AFTER
        time.sleep(_PAUSE_S if is_checked else _PAUSE_AFTER_FAILURE_S)


def check_once(models: Models, *, min_age: timedelta) -> bool:
    """Check the due models, and return whether the database could say which ones are due."""
    try:
        service.check_due_models(models, min_age=min_age)
    except (DatabaseFailure, DBAPIError, psycopg2.Error) as error:
        log.get_logger().warning("model.check_failed", exc_info=error)
        return False
    return True
