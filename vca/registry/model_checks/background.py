"""Check the models in the background of a server process, so that no caller waits for it."""

import time
from threading import Thread

from sqlalchemy.exc import DBAPIError

from vca.conversation.llm.models import Models
from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.registry.model_checks import service

_PAUSE_S = 300.0


def start(models: Models) -> None:
    """Check the models now, and again in intervals for as long as the process lives."""
    Thread(target=_check_forever, args=(models,), name="model-checks", daemon=True).start()


def _check_forever(models: Models) -> None:
    min_age = service.MIN_AGE_AT_START
    while True:
        try:
            service.check_due_models(models, min_age=min_age)
            min_age = service.RECHECK_AFTER
        except (DatabaseFailure, DBAPIError) as error:
            log.get_logger().warning("model.check_failed", exc_info=error)
        time.sleep(_PAUSE_S)
