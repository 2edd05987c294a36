"""Read and change a tenant's settings."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.tenant.settings.models import Settings

DEFAULT_SENTENCES = {
    "over_limit": "All our lines are busy at the moment. Please call again in a few minutes.",
    "suspended": "This number is not available at the moment. Goodbye.",
    "closed": "We are closed at the moment. Please call again later. Goodbye.",
    "fallback": "I am sorry, something went wrong on our side. Please call again later. Goodbye.",
}


def get(session: Session, *, for_update: bool = False) -> Settings:
    """The tenant's one row of settings."""
    statement = select(Settings)
    return session.scalars(statement.with_for_update() if for_update else statement).one()


def change(
    session: Session,
    *,
    time_zone: str | None = None,
    sentences: dict[str, str | None] | None = None,
) -> Settings:
    """Change what is given; a sentence set to None becomes the default again."""
    settings = get(session, for_update=True)
    if time_zone is not None:
        settings.time_zone = time_zone
    if sentences is not None:
        merged = {**settings.sentences, **sentences}
        settings.sentences = {name: text for name, text in merged.items() if text is not None}
    settings.updated_at = session.scalar(select(func.now())) or settings.updated_at
    session.flush()
    return settings


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as they act: all four sentences, the default where none was set."""
    return {
        "time_zone": settings.time_zone,
        "sentences": {**DEFAULT_SENTENCES, **settings.sentences},
        "updated_at": settings.updated_at,
    }
