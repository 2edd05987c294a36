"""Check the language models now and then, and share the results between processes."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from vca.conversation.llm import ModelCheck, ModelClient
from vca.conversation.llm.model_support import ModelSupport
from vca.conversation.llm.models import Models
from vca.kit import db, json
from vca.observability import log
from vca.registry.model_checks.models import StoredModelCheck
from vca.services import Services
from vca.tenancy.session import public_session

# A process that crashes at its start must not send a request at each attempt.
MIN_AGE_AT_START = timedelta(minutes=10)
RECHECK_AFTER = timedelta(hours=1)
_START = "SELECT public.start_model_check(%(endpoint)s, %(model)s, %(min_age)s)"
_FINISH = "SELECT public.finish_model_check(%(endpoint)s, %(model)s, %(support)s, %(failure)s)"

ModelsStatus: TypeAlias = Literal["unchecked", "ok", "no_tools", "degraded"]


@dataclass(frozen=True)
class ModelState:
    """The last result for a model: what it supports, or how it failed; None before any check."""

    model: str
    support: ModelSupport | None = None
    failure: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether no check of the model has failed."""
        return self.failure is None


def check_due_models(*, min_age: timedelta, services: Services) -> None:
    """Check the models whose last check started at least `min_age` ago; read the other results.

    No transaction is open while a model is asked.
    """
    for client, model in services.models.names():
        with services.database.connection() as connection:
            is_due = _call(
                connection, _START, endpoint=_endpoint(client), model=model, min_age=min_age
            )
        if is_due:
            save(client, client.check(model), services=services)
        else:
            with public_session(database=services.database) as session:
                state = _read_state(session, client, model)
            if state.support is not None:
                client.set_support(model, state.support)


def save(client: ModelClient, check: ModelCheck, *, services: Services) -> None:
    """Store the result of a check, and log a failure."""
    failure = None if check.failure is None else check.failure.end_detail or check.failure.failure
    support = None if check.support is None else json.dumps(asdict(check.support)).decode()
    with services.database.connection() as connection:
        _call(
            connection,
            _FINISH,
            endpoint=_endpoint(client),
            model=check.model,
            support=support,
            failure=failure,
        )
    if check.failure is not None:
        log.get_logger().error(
            "model.not_ready",
            model=check.model,
            **check.failure.log_fields,
            server_message=check.failure.server_message,
        )


def read_states(session: Session, models: Models) -> list[ModelState]:
    """Return the last result for each model."""
    return [_read_state(session, client, model) for client, model in models.names()]


def summarise(states: Sequence[ModelState]) -> ModelsStatus:
    """Return one word for the state of all models."""
    if not all(state.is_ready for state in states):
        return "degraded"
    supports = [state.support for state in states]
    if None in supports:
        return "unchecked"
    return "ok" if all(support is None or support.tools for support in supports) else "no_tools"


def _read_state(session: Session, client: ModelClient, model: str) -> ModelState:
    row = session.execute(
        select(StoredModelCheck.support, StoredModelCheck.failure).where(
            StoredModelCheck.endpoint == _endpoint(client), StoredModelCheck.model == model
        )
    ).one_or_none()
    if row is None:
        return ModelState(model)
    support = None if row.support is None else ModelSupport.from_json(row.support)
    return ModelState(model, support, row.failure)


def _endpoint(client: ModelClient) -> str:
    return hashlib.sha256(client.endpoint.encode()).hexdigest()[:16]


def _call(connection: Connection, statement: str, **parameters: object) -> bool:
    row = db.fetch_one(connection, statement, parameters)
    assert row is not None
    return bool(row[0])
