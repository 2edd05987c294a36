"""Helpers that read the state of a session, and build a row for it."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.kit import db
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile

MakePool = Callable[..., TenantDatabase]
Value = TypeVar("Value")
SET_NOTE = "UPDATE settings SET variables = jsonb_build_object('note', %(note)s::text)"
_NOTE_QUERY = "SELECT variables->>'note' FROM settings"
DEFAULT_PATH = '"$user", public'


def search_path_and_tenant(connection: Session | Connection) -> tuple[str, str]:
    """Return the search path and the tenant id of a session or connection."""
    query = "SELECT current_setting('search_path'), current_setting('vca.tenant_id', true)"
    path, tenant_id = connection.execute(text(query)).one()
    return path, tenant_id or ""


def read_note(session: Session) -> str | None:
    """Return what `SET_NOTE` has stored."""
    note: str | None = session.scalar(text(_NOTE_QUERY))
    return note


def note_of(tenant: Tenant) -> str | None:
    """Return the tenant's note, from a session of its own."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return read_note(session)


def defer_note(session: Session, note: str, statement: str = SET_NOTE) -> None:
    """Defer a statement with this note."""
    db.defer_statement(session.connection(), statement, {"note": note})


def backend_pid(connection: Session | Connection) -> int:
    pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return pid


def execute_unreachable(session: Session) -> NoReturn:
    """Execute a statement in a session that must not execute any; fail if it does."""
    session.execute(text("SELECT 1"))
    pytest.fail("the session executed a statement")


def wait_for(condition: Callable[[], Value], *, within_s: float = 10) -> Value:
    """Poll until the condition returns a true value; return the value."""
    deadline_s, pause = monotonic() + within_s, threading.Event()
    while not (value := condition()):
        assert monotonic() < deadline_s, f"timed out after {within_s} s"
        pause.wait(0.02)
    return value


def new_profile(**fields: Any) -> AiProfile:
    return AiProfile(
        id=uuid4(),
        name="x",
        role="custom",
        is_default=False,
        version=1,
        system_prompt="x",
        end_phrases=[],
        tools=[],
        transfer_targets={},
        recording=False,
        **fields,
    )
